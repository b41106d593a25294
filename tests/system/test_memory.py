"""Memory that changes while a guest runs: its balloon driver follows, down and up."""

from __future__ import annotations

from pathlib import Path

import pytest

from .host import Host, eventually
from .terminal import Terminal

pytestmark = pytest.mark.guest


def total_kib(guest: Terminal) -> int:
    return int(guest.run("grep MemTotal /proc/meminfo").split()[1])


def wait_for_memory(host: Host, name: str, size: int) -> None:
    """Wait until a domain holds ``size`` MiB, or the few pages less that Linux aims at."""
    eventually(lambda: host.row(name).memory in (size - 1, size), host.list)


def test_the_balloon_follows_down_and_up(host: Host, debian: Terminal) -> None:
    full = total_kib(debian)
    for size in (160, 200, 256):
        host.xl("mem-set", "debian", size)
        wait_for_memory(host, "debian", size)
        assert abs(full - total_kib(debian) - (256 - size) * 1024) < 1024
    assert "BUG" not in debian.run("dmesg")


def test_memory_that_the_balloon_gives_back_is_free_again(host: Host, debian: Terminal) -> None:
    def resident_kib() -> int:
        descriptors = Path(f"/proc/{host.domain_pid('debian')}/fd")
        memory = [fd for fd in descriptors.iterdir() if "xenolith-memory" in str(fd.readlink())]
        (blocks,) = {fd.stat().st_blocks for fd in memory}
        return blocks // 2

    # A file in the guest's memory makes the frames below it real.
    debian.run("dd if=/dev/zero of=/tmp/ballast bs=1M count=160; rm /tmp/ballast")
    before = resident_kib()
    host.xl("mem-set", "debian", 96)
    wait_for_memory(host, "debian", 96)
    assert before > 160 * 1024
    assert resident_kib() < 110 * 1024
    host.xl("mem-set", "debian", 256)
    wait_for_memory(host, "debian", 256)


def test_the_limit_is_kept_and_can_be_moved(host: Host, debian: Terminal) -> None:
    refused = host.try_xl("mem-set", "debian", 300)
    assert refused.returncode == 1
    assert "256 MiB" in refused.stderr
    host.xl("mem-max", "debian", "200m")
    assert host.try_xl("mem-set", "debian", 220).returncode == 1
    host.xl("mem-max", "debian", "256m")
    host.xl("mem-set", "debian", "256m")
    debian.run("true")
    for size in ("much", "-5", "0"):
        assert host.try_xl("mem-set", "debian", size).returncode != 0


def test_a_guest_boots_with_less_than_its_limit(host: Host) -> None:
    host.xl("create", host.config("small", memory=96, maxmem=160))
    with host.terminal("console", "small") as terminal:
        terminal.wait_for(b"# ")
        wait_for_memory(host, "small", 96)
        small = total_kib(terminal)
        host.xl("mem-set", "small", 160)
        wait_for_memory(host, "small", 160)
        assert abs(total_kib(terminal) - small - 64 * 1024) < 1024


def test_a_kernel_that_does_not_fit_is_refused(host: Host) -> None:
    refused = host.try_xl("create", host.config("tiny", memory=32))
    assert refused.returncode == 1
    assert "does not fit" in refused.stderr
    assert "tiny" not in host.names()
