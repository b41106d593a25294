"""vCPUs that come and go while Debian's kernel runs, PVH and PV: `xl vcpu-set`, maxvcpus above vcpus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .host import Host, eventually
from .terminal import Terminal

pytestmark = pytest.mark.guest


@pytest.fixture(params=["pvh", "pv"])
def kind(request: pytest.FixtureRequest) -> str:
    """The type of domain."""
    return str(request.param)


@pytest.fixture
def guest(host: Host, kind: str) -> Iterator[Terminal]:
    """The shell of a guest that starts with one of its three vCPUs."""
    host.xl("create", host.config("plug", type=kind, vcpus=1, maxvcpus=3))
    with host.terminal("console", "plug") as terminal:
        terminal.wait_for(b"# ", timeout=90)
        yield terminal


def states(host: Host) -> list[str]:
    """The state column of `xl vcpu-list`, one for each vCPU."""
    return [line.split()[4] for line in host.xl("vcpu-list", "plug").splitlines()[1:]]


def online(host: Host) -> int:
    """How many vCPUs Xen's side calls online."""
    return sum(not state.endswith("p") for state in states(host))


def processors(guest: Terminal) -> int:
    return int(guest.run("grep -c ^processor /proc/cpuinfo"))


def plug(guest: Terminal, vcpu: int) -> None:
    """What udev does where there is one: Linux leaves it to user space to use a CPU that has come."""
    path = f"/sys/devices/system/cpu/cpu{vcpu}/online"
    eventually(lambda: "there" in guest.run(f"[ -e {path} ] && echo there"))
    guest.run(f"echo 1 > {path}")


def test_vcpus_are_added_and_taken_away(host: Host, guest: Terminal) -> None:
    assert processors(guest) == 1
    eventually(lambda: states(host)[1:] == ["--p", "--p"], lambda: states(host))
    host.xl("vcpu-set", "--ignore-host", "plug", 3)
    for vcpu in (1, 2):
        plug(guest, vcpu)
    assert processors(guest) == 3
    assert online(host) == 3
    assert host.row("plug").vcpus == 3
    # They do work.
    assert guest.run("for c in 2 4; do taskset $c echo ran; done") == "ran\nran\n"
    host.xl("vcpu-set", "plug", 1)
    eventually(lambda: online(host) == 1, lambda: states(host))
    assert processors(guest) == 1
    assert host.row("plug").vcpus == 1
    host.xl("trigger", "plug", "nmi", 1)
    assert guest.run("echo still here") == "still here\n"
    assert online(host) == 1, "an NMI has brought a vCPU up"
    host.xl("vcpu-set", "plug", 2)
    plug(guest, 1)
    assert processors(guest) == 2
    messages = guest.run("dmesg")
    assert "BUG" not in messages and "bad cpu" not in messages
    assert "unchecked MSR access" not in messages


def test_mistakes_are_told(host: Host, guest: Terminal) -> None:
    assert guest.run("echo up") == "up\n"
    domid = host.row("plug").domid
    for arguments, message in (
        (
            ("-i", "plug", 4),
            f"Error: Domain {domid} has 3 vCPUs (maxvcpus), so 1 to 3 can be online\n",
        ),
        (("plug", "two"), "Error: 'two' is not a number of vCPUs\n"),
        (("plug", 9999), "Error: 9999 vCPUs are more than the host's "),
        (("nobody", 1), "Error: There is no domain nobody\n"),
    ):
        done = host.try_xl("vcpu-set", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
