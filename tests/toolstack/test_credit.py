"""Weights and caps: what is refused, what is kept, and what the processes of domains are told."""

from __future__ import annotations

import re

import pytest

from xenolith.toolstack.client import Toolstack, ToolstackError

from .host import Host


def credits_of(toolstack: Toolstack) -> list[tuple[str, int, int]]:
    return [(info.name, info.weight, info.cap) for info in toolstack.cpus.credits()]


def test_they_are_set_shown_and_outlive_the_daemon(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", cpu_weight=512, cap=30))
        assert credits_of(toolstack) == [("Domain-0", 256, 0), ("web", 512, 30)]
        toolstack.cpus.set_credit(domid, 100, None)
        toolstack.cpus.set_credit(domid, None, 50)
    host.kill(host.daemon_pid())
    with host.connect() as toolstack:
        assert credits_of(toolstack)[1:] == [("web", 100, 50)]
        assert toolstack.cpus.credits()[1].cpupool == "Pool-0"


@pytest.mark.parametrize(
    ("weight", "cap", "message"),
    [
        (0, None, "The weight of domain 1 can be 1 to 65535, not 0"),
        (65536, None, "The weight of domain 1 can be 1 to 65535, not 65536"),
        (None, -1, "The cap of domain 1 can be 0 .none. to 200 percent, not -1"),
        (None, 201, "The cap of domain 1 can be 0 .none. to 200 percent, not 201"),
    ],
)
def test_what_cannot_be_is_refused(
    host: Host, weight: int | None, cap: int | None, message: str
) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", vcpus=2, maxvcpus=2))
        with pytest.raises(ToolstackError, match=message):
            toolstack.cpus.set_credit(domid, weight, cap)
        with pytest.raises(ToolstackError, match="Domain-0 is the host itself"):
            toolstack.cpus.set_credit(0, 512, None)
        assert credits_of(toolstack)[1:] == [("web", 256, 0)]


class Orders:
    """What a domain's process is told, in order: the fake machine says so on its console."""

    def __init__(self, toolstack: Toolstack, domid: int) -> None:
        self._console = toolstack.console(domid)
        self._console.settimeout(10)
        self._text = b""

    def __enter__(self) -> Orders:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._console.close()

    def throttle(self) -> bool:
        """Whether the next orders throttle it."""
        while (match := re.search(rb"(throttled|free to run)\n", self._text)) is None:
            part = self._console.recv(1 << 16)
            assert part, self._text
            self._text += part
        self._text = self._text[match.end() :]
        return match[1] == b"throttled"


def test_a_cap_reaches_the_process(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("web", "orders", cap=10))
        with Orders(toolstack, domid) as orders:
            assert orders.throttle()
            toolstack.cpus.set_credit(domid, None, 0)
            assert not orders.throttle()


def test_only_who_shares_a_cpu_with_a_heavier_domain_is_told(host: Host) -> None:
    with host.connect() as toolstack:
        light = toolstack.create(host.config("light", "orders", cpus=("0",)))
        with Orders(toolstack, light) as orders:
            assert not orders.throttle()
            heavy = toolstack.create(host.config("heavy", cpu_weight=512, cpus=("0",)))
            assert orders.throttle()
            toolstack.cpus.set_credit(heavy, 256, None)
            assert not orders.throttle()
            toolstack.cpus.set_credit(heavy, 300, None)
            assert orders.throttle()
            toolstack.cpus.set_credit(light, 300, None)
            assert not orders.throttle()
            toolstack.cpus.set_credit(light, 299, None)
            assert orders.throttle()
            toolstack.destroy(heavy)
            assert not orders.throttle()


def test_a_heavier_domain_that_crashes_and_stays_counts_no_more(host: Host) -> None:
    with host.connect() as toolstack:
        domid = toolstack.create(host.config("light", "orders"))
        with Orders(toolstack, domid) as orders:
            assert not orders.throttle()
            toolstack.create(host.config("heavy", cpu_weight=512, on_crash="preserve"))
            assert orders.throttle()
            host.kill(host.pid_of("xen-heavy"))
            assert not orders.throttle()


def test_a_new_daemon_tells_all_of_them_what_holds(host: Host) -> None:
    with host.connect() as toolstack:
        light = toolstack.create(host.config("light", "orders"))
        toolstack.create(host.config("heavy", cpu_weight=512))
        with Orders(toolstack, light) as orders:
            assert not orders.throttle()
            assert orders.throttle()
            host.kill(host.daemon_pid())
            with host.connect():
                assert orders.throttle()
