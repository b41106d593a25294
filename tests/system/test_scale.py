"""Much of everything: memory beyond the host's, many vCPUs, many domains, a kernel with many drivers."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .host import READY, Host, read_until

pytestmark = pytest.mark.guest

RUN_TRUE = "xenolith.run=true"

MEMORY = 900_000
"""MiB: no host of these tests has as much."""

MEMORY_MAP_KIB = MEMORY * 256 * 64 // 1024
"""Linux keeps 64 bytes for each page of 4 KiB, and touches them all at the start."""


def host_memory_kib(field: str) -> int:
    match = re.search(rf"^{field}: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def boot(host: Host, path: Path, timeout: float) -> bytes:
    """Create a domain and return what it prints until it ends."""
    done = subprocess.run(
        host.command("create", "-c", path), env=host.environment, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert READY in done.stdout
    assert done.stdout.endswith(b"reboot: Power down\r\n")
    return done.stdout


def test_more_memory_than_the_host_has(host: Host) -> None:
    """As far as the guest is told to use it; the domain has all of it."""
    assert host_memory_kib("MemTotal") < MEMORY << 10
    host.xl("create", host.config("big", memory=MEMORY, extra="mem=1G"))
    with host.running_xl("console", "big") as console:
        seen = read_until(console, READY).decode()
    assert host.row("big").memory == MEMORY - 1  # The pages below 1 MiB that are no RAM.
    ranges = re.findall(r"BIOS-e820: \[mem 0x(\w+)-0x(\w+)\] usable", seen)
    assert sum(int(end, 16) + 1 - int(start, 16) for start, end in ranges) > (MEMORY - 2) << 20


@pytest.mark.slow
def test_a_guest_that_uses_more_memory_than_the_host_has(host: Host) -> None:
    if host_memory_kib("MemAvailable") < MEMORY_MAP_KIB + (3 << 20):
        pytest.skip(f"the guest's own table of its pages takes {MEMORY_MAP_KIB >> 20} GiB")
    seen = boot(host, host.config("big", memory=MEMORY, extra=RUN_TRUE), timeout=900)
    match = re.search(rb"memory: (\d+) MiB", seen)
    assert match is not None
    assert int(match[1]) > 0.98 * (MEMORY - (MEMORY_MAP_KIB >> 10))


@pytest.mark.slow
def test_128_vcpus(host: Host) -> None:
    seen = boot(host, host.config("wide", vcpus=128, memory=512, extra=RUN_TRUE), timeout=900)
    assert b", CPUs: 128, " in seen


@pytest.mark.slow
def test_32_domains_at_once(own_host: Host) -> None:
    """Of 80 MiB: with 64 MiB, Debian's kernel is out of memory before its user space runs."""
    names = {f"web{number}" for number in range(32)}
    for name in names:
        own_host.xl("create", own_host.config(name, memory=80))
    consoles = {name: own_host.logs / f"guest-{name}.log" for name in names}
    deadline = time.monotonic() + 600
    while consoles:
        assert time.monotonic() < deadline, sorted(consoles)
        consoles = {name: path for name, path in consoles.items() if READY not in path.read_bytes()}
        time.sleep(0.5)
    assert own_host.names() == names
    assert len(own_host.domain_processes()) == 32


@pytest.mark.slow
def test_debians_generic_kernel(host: Host, tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "xenolith.cli.assets", "generic", "--link-into", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if "apt-get" in made.stderr:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    kernel, ramdisk = (str(tmp_path / "generic" / name) for name in ("vmlinuz", "initramfs"))
    path = host.config("generic", kernel=kernel, ramdisk=ramdisk, vcpus=2, extra=RUN_TRUE)
    assert re.search(rb"user space is up: Linux [\d.-]+-amd64, CPUs: 2, ", boot(host, path, 120))
