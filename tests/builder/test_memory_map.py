"""The memory map of PVH domains of every size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.hvm_start_info import MemmapType
from xenolith.builder.errors import BuildError
from xenolith.builder.memory_map import (
    BELOW_4G_RAM_END,
    CONSOLE_GFN,
    LARGEST_MEMORY,
    SMALLEST_MEMORY,
    XENSTORE_GFN,
    MemoryRange,
    memory_map,
    ram_ranges,
)
from xenolith.machine.address import PAGE_SIZE, GuestPhys


def test_a_small_domain() -> None:
    assert memory_map(512 << 20, 5000) == (
        MemoryRange(GuestPhys(0), 512 << 20, MemmapType.RAM),
        MemoryRange(GuestPhys(0xFC00_0000), 8192, MemmapType.NVS),
        MemoryRange(GuestPhys(0xFEFF_8000), 0x8000, MemmapType.RESERVED),
    )


def test_memory_beyond_the_hole_goes_above_4_gib() -> None:
    low, *_, high = memory_map(LARGEST_MEMORY, 1)
    assert low == MemoryRange(GuestPhys(0), BELOW_4G_RAM_END, MemmapType.RAM)
    assert high.start == 4 << 30
    assert high.end == (1 << 40) + (256 << 20)


@given(pages=st.integers(SMALLEST_MEMORY // PAGE_SIZE, LARGEST_MEMORY // PAGE_SIZE))
def test_ranges_ascend_and_hold_all_memory(pages: int) -> None:
    ranges = memory_map(pages * PAGE_SIZE, 6180)
    assert all(lower.end <= upper.start for lower, upper in pairwise(ranges))
    assert all(r.start % PAGE_SIZE == r.size % PAGE_SIZE == 0 for r in ranges)
    ram = [r for r in ranges if r.type is MemmapType.RAM]
    assert sum(r.size for r in ram) == pages * PAGE_SIZE
    assert tuple(ram) == ram_ranges(pages * PAGE_SIZE)


def test_the_special_pages_are_xens_and_reserved() -> None:
    assert (XENSTORE_GFN, CONSOLE_GFN) == (0xFEFFC, 0xFEFFF)
    reserved = memory_map(SMALLEST_MEMORY, 1)[2]
    for gfn in (XENSTORE_GFN, CONSOLE_GFN):
        assert reserved.start <= gfn * PAGE_SIZE < reserved.end


@pytest.mark.parametrize("size", [0, (32 << 20) - 4096, (32 << 20) + 1, (1 << 40) + 4096])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(BuildError, match=f"cannot have {size} bytes"):
        memory_map(size, 1)
