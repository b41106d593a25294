"""What the benchmarks read: the output of guests, and /proc."""

from __future__ import annotations

import os

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


def test_memory_counts_what_lies_behind_the_ram_but_not_the_ram() -> None:
    pid, ram, page = os.getpid(), 1 << 20, 4096
    memory = os.memfd_create("guest")
    try:
        os.ftruncate(memory, 2 * ram)
        before = memory_beside_ram(pid, ram)
        os.pwrite(memory, bytes(ram), 0)
        os.pwrite(memory, b"x", ram)
        os.pwrite(memory, b"x", 2 * ram - page)
        grown = memory_beside_ram(pid, ram) - before
    finally:
        os.close(memory)
    assert 2 * page <= grown < ram // 2


def test_a_process_without_a_guest_has_no_such_figure() -> None:
    with pytest.raises(BenchError, match="0 memory files"):
        memory_beside_ram(os.getpid(), 1 << 20)
