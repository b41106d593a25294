"""Core dumps, read back by a reader of its own and by readelf where it is installed."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from xenolith.machine.address import GuestPhys
from xenolith.machine.memory import MachineMemory
from xenolith.toolstack import core_dump
from xenolith.toolstack.core_dump import MemoryStretch

MIB = 1 << 20


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """The core of a guest with 1 MiB at 0 and 63 MiB from 4 GiB on, two pages of it touched."""
    memory = MachineMemory(64 * MIB >> 12)
    memory.write(0x1234, b"low memory")
    memory.write(40 * MIB, b"high memory")
    path = tmp_path / "core"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    stretches = [
        MemoryStretch(GuestPhys(0), 0, MIB),
        MemoryStretch(GuestPhys(4 << 30), MIB, 63 * MIB),
    ]
    core_dump.write(fd, memory.fd, stretches)
    os.close(fd)
    return path


def segments(path: Path) -> list[tuple[int, int, int]]:
    """(guest address, file offset, size) of every PT_LOAD, read as elf(5) says."""
    data = path.read_bytes()
    assert data[:7] == b"\x7fELF\x02\x01\x01"
    assert struct.unpack_from("<HH", data, 16) == (4, 62)
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for number in range(count):
        kind, _, offset, _, address, in_file, _, _ = struct.unpack_from(
            "<IIQQQQQQ", data, table + number * size
        )
        assert kind == 1
        found.append((address, offset, in_file))
    return found


def test_memory_is_found_at_its_guest_addresses(core: Path) -> None:
    data = core.read_bytes()
    low, high = segments(core)
    assert (low[0], low[2]) == (0, MIB)
    assert data[low[1] + 0x1234 :].startswith(b"low memory")
    assert (high[0], high[2]) == (4 << 30, 63 * MIB)
    assert data[high[1] + 39 * MIB :].startswith(b"high memory")


def test_untouched_memory_takes_no_space(core: Path) -> None:
    status = core.stat()
    assert status.st_size > 64 * MIB
    assert status.st_blocks * 512 < MIB


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    memory = MachineMemory(16)
    memory.write(0, b"x")
    with open("/dev/full", "r+b") as full, pytest.raises(OSError, match=r".+"):
        core_dump.write(full.fileno(), memory.fd, [MemoryStretch(GuestPhys(0), 0, 65536)])


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils is not installed")
def test_readelf_reads_it(core: Path) -> None:
    done = subprocess.run(
        ["readelf", "-hlW", str(core)], capture_output=True, text=True, check=True
    )
    assert "CORE (Core file)" in done.stdout
    assert done.stdout.count("LOAD ") == 2
    assert done.stderr == ""
