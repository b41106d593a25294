"""What a process uses, from /proc: processor time, and memory besides its guest's RAM."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bench.errors import BenchError


def cpu_seconds(pid: int) -> float:
    """The processor time that all threads of a process have used, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def memory_beside_ram(pid: int, ram_bytes: int) -> float:
    """Bytes that a process costs besides its guest's RAM, which starts a memory file.

    That is its anonymous memory, its share of files such as libraries, and what lies in the memory
    file behind the RAM. A page that n processes share counts as 1/n of a page.
    """
    rollup = smaps_fields(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return rollup["Pss_Anon"] + rollup["Pss_File"] + _stored_behind(pid, ram_bytes)


def smaps_fields(text: str) -> dict[str, int]:
    """The fields of smaps_rollup (proc(5)) in bytes, by name."""
    fields = {}
    for line in text.splitlines()[1:]:
        name, size, _unit = line.split()
        fields[name.removesuffix(":")] = int(size) * 1024
    return fields


def _stored_behind(pid: int, offset: int) -> int:
    """Bytes stored behind ``offset`` in the memory file that is larger than that."""
    files = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(link).startswith("/memfd:") and link.stat().st_size >= offset:
                files[link.stat().st_ino] = link
    if len(files) != 1:
        raise BenchError(f"process {pid} has {len(files)} memory files that may hold its guest")
    (link,) = files.values()
    with link.open("rb") as file:
        return sum(end - start for start, end in _extents(file.fileno(), offset))


def _extents(fd: int, offset: int) -> list[tuple[int, int]]:
    """Where a sparse file has data from ``offset`` on, as start and end."""
    found = []
    size = os.fstat(fd).st_size
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            break
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, offset))
    return found
