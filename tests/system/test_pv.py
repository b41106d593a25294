"""Debian's unmodified kernel as a PV domain: to user space, at work, and to its end."""

from __future__ import annotations

import hashlib
import random
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import READY, Host, eventually, read_until
from .terminal import Terminal

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def pv(shared_host: Host) -> Iterator[Terminal]:
    """The shell of a PV guest with two vCPUs, for the tests of this module."""
    shared_host.xl("create", shared_host.config("pv", type="pv", vcpus=2, maxvcpus=3))
    with shared_host.terminal("console", "pv") as terminal:
        terminal.wait_for(b"# ", timeout=90)
        yield terminal
    shared_host.try_xl("destroy", "pv")


def test_it_knows_that_it_runs_on_xen(pv: Terminal) -> None:
    messages = pv.run("dmesg")
    assert "Hypervisor detected: Xen PV" in messages
    assert "Booting kernel on Xen" in messages
    assert "multicall" not in messages
    assert "BUG" not in messages and "WARNING" not in messages


def test_all_its_vcpus_run(shared_host: Host, pv: Terminal) -> None:
    assert pv.run("nproc") == "2\n"
    count = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    pv.run(f"for c in 1 2; do taskset $c sh -c '{count}' & done; wait", timeout=60)
    assert re.search(r"^pv +\d+ +1 +\S+ +\S+ +[1-9]", shared_host.xl("vcpu-list", "pv"), re.M)


def test_programs_start_fork_and_end(pv: Terminal) -> None:
    counted = pv.run(
        "i=0; while [ $i -lt 40 ]; do /bin/busybox true; i=$((i+1)); done; echo $i", 60
    )
    assert counted == "40\n"
    assert pv.run("seq 1 20000 | sort -rn | head -n 1") == "20000\n"


def elf32(code: bytes) -> bytes:
    """A program for i386 that is nothing but its code."""
    base, headers = 0x0804_8000, 52 + 32
    size = headers + len(code)
    ident = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + headers, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    program = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000)
    return ident + header + program + code


EXIT_42 = b"\xb8\x01\x00\x00\x00" + b"\xbb\x2a\x00\x00\x00"
"""mov eax, 1; mov ebx, 42"""


@pytest.mark.parametrize("call", [b"\xcd\x80", b"\x0f\x05"], ids=["int 0x80", "syscall"])
def test_programs_of_32_bits_run(pv: Terminal, call: bytes) -> None:
    image = "".join(f"\\x{byte:02x}" for byte in elf32(EXIT_42 + call))
    seen = pv.run(f"printf '{image}' > /p32; chmod +x /p32; /p32; echo $?")
    assert seen.endswith("42\n")


IOPERM_OF_0X80 = bytes.fromhex("b865000000 bb80000000 b901000000 ba01000000 cd80")
"""mov eax, 101; mov ebx, 0x80; mov ecx, 1; mov edx, 1; int 0x80"""
IOPL_3 = bytes.fromhex("b86e000000 bb03000000 cd80")
EXIT_WITH_IN_OF_0X80 = bytes.fromhex("b800000000 e480 89c3 b801000000 cd80")
"""mov eax, 0; in al, 0x80; mov ebx, eax; mov eax, 1; int 0x80"""


@pytest.mark.parametrize(
    ("right", "status"),
    [(IOPERM_OF_0X80, 255), (IOPL_3, 255), (b"", 128 + signal.SIGSEGV)],
    ids=["ioperm", "iopl", "neither"],
)
def test_programs_use_ports_that_their_kernel_lets_them_use(
    pv: Terminal, right: bytes, status: int
) -> None:
    image = "".join(f"\\x{byte:02x}" for byte in elf32(right + EXIT_WITH_IN_OF_0X80))
    seen = pv.run(f"printf '{image}' > /ports; chmod +x /ports; /ports; echo $?")
    assert seen.endswith(f"{status}\n")


def test_it_takes_an_nmi(shared_host: Host, pv: Terminal) -> None:
    shared_host.xl("trigger", "pv", "nmi", 0)
    eventually(lambda: "NMI received" in pv.run("dmesg | tail -n 5"), lambda: pv.run("dmesg"))


def test_floating_point_survives_other_vcpus_and_programs(pv: Terminal) -> None:
    compute = "awk 'BEGIN { x = 0; for (i = 1; i <= 20000; i++) x += 1 / i; printf \"%.6f\", x }'"
    seen = pv.run(f"for c in 1 2 1 2; do taskset $c {compute} & done; wait", timeout=90)
    assert seen.count("10.480728") == 4


def test_its_memory_is_what_it_was_given(shared_host: Host, pv: Terminal) -> None:
    total = int(pv.run("grep MemTotal /proc/meminfo").split()[1])
    assert 200 << 10 < total < 256 << 10
    assert shared_host.row("pv").memory == 256


def test_its_hypercalls_are_shown(shared_host: Host, pv: Terminal) -> None:
    with shared_host.running_xl("strace", "pv") as trace:
        read_until(trace, b"attached to domain")
        pv.run("ls / > /dev/null")
        read_until(trace, b"cmd=NEW_BASEPTR, arg1=")
        trace.send_signal(signal.SIGINT)
        assert trace.wait(10) == 128 + signal.SIGINT


def test_its_memory_shrinks_and_grows(host: Host) -> None:
    host.xl("create", host.config("web", type="pv", maxmem=512))
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    host.xl("mem-set", "web", 180)
    eventually(lambda: host.row("web").memory == 180, host.list)
    host.xl("mem-set", "web", 400)
    eventually(lambda: host.row("web").memory == 400, host.list)


def test_its_disk_is_read_and_written(host: Host, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    content = random.Random(1).randbytes(8 << 20)
    image.write_bytes(content)
    host.xl("create", host.config("web", type="pv", vcpus=2, disk=[f"{image},raw,xvda,w"]))
    with host.terminal("console", "web") as terminal:
        terminal.wait_for(b"# ", timeout=90)
        seen = terminal.run("md5sum /dev/xvda", 60)
        assert hashlib.md5(content).hexdigest() in seen
        terminal.run("dd if=/bin/busybox of=/dev/xvda bs=64k count=10 seek=32 conv=fsync", 60)
        written = terminal.run("head -c 655360 /bin/busybox | md5sum", 60)
    changed = image.read_bytes()
    start, end = 32 << 16, 42 << 16
    assert hashlib.md5(changed[start:end]).hexdigest() in written
    assert changed[:start] + changed[end:] == content[:start] + content[end:]


def test_it_reboots_and_shuts_down_on_request(host: Host) -> None:
    host.xl("create", host.config("web", type="pv"))
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    first = host.row("web").domid
    host.xl("reboot", "web")
    eventually(lambda: "web" in host.names() and host.row("web").domid > first, host.list)
    with host.running_xl("console", "web") as console:
        read_until(console, READY, 90)
    done = host.try_xl("shutdown", "-w", "web")
    assert done.returncode == 0
    assert "reason code 0" in done.stderr


def test_a_kernel_without_an_entry_for_pv_is_refused(host: Host) -> None:
    kernel = host.directory / "not-a-kernel"
    kernel.write_bytes(b"\x7fELF" + bytes(60))
    refused = host.try_xl("create", host.config("web", type="pv", kernel=str(kernel)))
    assert refused.returncode == 1
    assert "not-a-kernel" in refused.stderr
    assert "web" not in host.names()
