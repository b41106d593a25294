"""Guests that do their worst, seen from outside: xl answers, their neighbours live, nothing is left of them."""

from __future__ import annotations

import time

import pytest

from guest.build import GuestBuilder

from .host import Host, eventually, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest

PROMPT = 5.0
"""Seconds that a command may take on a machine that has other work: it takes a tenth of one."""

WORST = {
    "faults/flood": ("ring", b"flooding"),
    "faults/spin": ("loop", b"spinning"),
    "faults/xenstore_storm": ("seed=1", b"storming"),
}


@pytest.mark.parametrize("name", WORST)
def test_xl_and_the_neighbours_stay_as_they_are(
    host: Host, debian: Terminal, tiny_guests: GuestBuilder, name: str
) -> None:
    how, begun = WORST[name]
    kernel = str(tiny_guests.build(name))
    host.xl("create", host.config("worst", kernel=kernel, ramdisk="", memory=32, cmdline=how))
    domid = host.row("worst").domid
    with host.running_xl("console", "worst") as console:
        read_until(console, begun)
    for command in (
        ("list",), ("vcpu-list", "worst"), ("pause", "worst"), ("unpause", "worst"),
        ("mem-set", "worst", 32), ("shutdown", "worst"),
    ):  # fmt: skip
        started = time.monotonic()
        host.xl(*command)
        assert time.monotonic() - started < PROMPT, command
    assert debian.run("echo the neighbour lives") == "the neighbour lives\n"
    started = time.monotonic()
    home = f"/local/domain/{host.row('debian').domid}"
    assert host.xenstore("xenstore-read", f"{home}/name").stdout == "debian\n"
    assert time.monotonic() - started < PROMPT
    # What it had stored it may have removed, but no more than that.
    assert "tool" in host.xenstore("xenstore-list", "/").stdout.split()
    host.xl("destroy", "worst")
    assert "worst" not in host.names()
    eventually(lambda: host.xenstore("xenstore-exists", f"/local/domain/{domid}").returncode == 1)
