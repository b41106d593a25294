"""What the benchmarks read: the output of guests, and /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from bench.errors import BenchError
from bench.gbench import rates
from bench.process_usage import cpu_seconds, memory_beside_ram, smaps_fields


def test_rates_are_read_between_other_lines() -> None:
    console = (
        "[    0.1] Linux version 6.1\r\nGBENCH getppid 1000000 0.500000\r\nnoise GBENCH x 1 1.0\r\n"
        "GBENCH memcpy 8388608 2.000000\r\nGBENCH getppid 500000 1.000000\r\nGBENCH end\r\n"
    )
    assert rates(console) == {"getppid": [2e6, 5e5], "memcpy": [4194304.0]}


def test_a_guest_without_measurements_is_an_error() -> None:
    with pytest.raises(BenchError):
        rates("Kernel panic\r\nGBENCH end\r\n")


def test_smaps_fields_are_in_bytes() -> None:
    text = "55d-7ff ---p 00000000 00:00 0   [rollup]\nRss:   12 kB\nPss_Anon:      3 kB\n"
    assert smaps_fields(text) == {"Rss": 12288, "Pss_Anon": 3072}


def test_processor_time_grows_with_work() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(1_000_000))
    assert 0 < cpu_seconds(os.getpid()) - before < 10


_CHILD = """
import os, sys
memory = os.memfd_create("guest") if len(sys.argv) > 1 else -1
if memory >= 0:
    os.ftruncate(memory, 2 << 20)
print("ready", flush=True)
sys.stdin.readline()
if memory >= 0:
    os.pwrite(memory, bytes(1 << 20), 0)
    os.pwrite(memory, b"x", 1 << 20)
    os.pwrite(memory, b"x", (2 << 20) - 4096)
print("written", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose memory files are its own, unlike those of a process full of tests."""
    command = [sys.executable, "-c", _CHILD, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate("\n\n")


def test_memory_counts_what_lies_behind_the_ram_but_not_the_ram() -> None:
    ram, page = 1 << 20, 4096
    with child("with a memory file") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = memory_beside_ram(process.pid, ram)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        grown = memory_beside_ram(process.pid, ram) - before
    assert 2 * page <= grown < ram // 2


def test_a_process_without_a_guest_has_no_such_figure() -> None:
    with child() as process, pytest.raises(BenchError, match="0 memory files"):
        memory_beside_ram(process.pid, 1 << 20)
