"""`xl vcpu-set`: what the guest finds in xenstore, and what stays of it."""

from __future__ import annotations

import contextlib

import pytest

from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.xenstore.tools.client import Client

from .host import Host


def availability(toolstack: Toolstack, domid: int) -> list[str]:
    """What the guest's CPU hot plug reads."""
    with contextlib.closing(Client.connect(toolstack.info()["xenstored_socket"])) as store:
        home = f"/local/domain/{domid}/cpu"
        return [
            store.read(f"{home}/{vcpu}/availability").decode() for vcpu in store.directory(home)
        ]


def test_vcpus_go_online_and_offline(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=2, maxvcpus=4))
        assert availability(toolstack, domid) == ["online", "online", "offline", "offline"]
        toolstack.set_vcpus(domid, 4)
        assert availability(toolstack, domid) == ["online"] * 4
        toolstack.set_vcpus(domid, 1)
        assert availability(toolstack, domid) == ["online", "offline", "offline", "offline"]


def test_the_number_outlives_the_daemon_and_a_reboot(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=1, maxvcpus=3))
        toolstack.set_vcpus(domid, 3)
    host.kill(host.daemon_pid())
    with host.connect() as toolstack:
        assert toolstack.config(domid)["vcpus"] == 3
        toolstack.reboot(domid)
        successor = toolstack.wait(domid).successor
        assert successor is not None
        assert availability(toolstack, successor) == ["online"] * 3


@pytest.mark.parametrize("count", [0, -1, 4])
def test_other_numbers_are_refused(host: Host, count: int) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=1, maxvcpus=3))
        with pytest.raises(ToolstackError, match="Domain 1 has 3 vCPUs"):
            toolstack.set_vcpus(domid, count)
        assert availability(toolstack, domid) == ["online", "offline", "offline"]


def test_the_host_and_the_dead_keep_their_vcpus(host: Host) -> None:
    with host.connect() as toolstack:
        with pytest.raises(ToolstackError, match="Domain-0 is the host itself"):
            toolstack.set_vcpus(0, 1)
        ended = host.config("web", "poweroff", on_poweroff="preserve")
        domid = toolstack.create(ended)
        with pytest.raises(ToolstackError, match="has shut down"):
            toolstack.set_vcpus(domid, 1)
