"""The page tables that a PV kernel starts on: frames that follow one another, mapped at addresses that do so.

Entry flags are those of xg_dom_x86.c in Xen's tools/libs/guest.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE

_ENTRIES, _INDEX_BITS = 512, 9
_SHIFTS = (12, 21, 30, 39)
_ADDRESS_MASK = (1 << 48) - 1

_WRITABLE = 2
_LEAF = 0x63
"""Present, writable, accessed and dirty."""
_TABLE = 0x67
"""And user."""


def _table_range(shift: int, start: int, end: int) -> tuple[int, int]:
    """The number of the first table of a level that maps a range, and how many there are."""
    first = start >> shift + _INDEX_BITS
    return first, (end - 1 >> shift + _INDEX_BITS) - first + 1


def _canonical_range(start: int, end: int) -> tuple[int, int]:
    """The range as the processor's indices see it: in 48 bits."""
    start &= _ADDRESS_MASK
    return start, start + (end & _ADDRESS_MASK or _ADDRESS_MASK + 1) - start


def table_count(start: int, end: int) -> int:
    """How many page tables of all four levels map the addresses from ``start`` to before ``end``."""
    start, end = _canonical_range(start, end)
    return sum(_table_range(shift, start, end)[1] for shift in _SHIFTS)


class PvPageTables:
    """Writes page tables into pseudo-physical memory whose frame 0 is machine frame ``first_mfn``.

    ``write(pfn, data)`` stores bytes from a frame on.
    """

    def __init__(self, first_mfn: int, write: Callable[[int, bytes], None]) -> None:
        self._first_mfn = first_mfn
        self._write = write

    def build(
        self, address: int, pfn: int, count: int, tables: int, read_only: range
    ) -> list[tuple[int, int]]:
        """Map ``count`` frames from ``pfn`` on at ``address``, by tables from frame ``tables`` on.

        The tables are of levels 3 to 1. Frames in ``read_only`` are mapped so. Returns the entries of level 4 that
        belong to it, by index.
        """
        start, end = _canonical_range(address, address + (count << PAGE_SHIFT))
        entries = self._entries(pfn, count, _LEAF)
        for number in read_only:
            entries[number - pfn] &= ~_WRITABLE
        # From level 3 down in memory, as the kernels have always found them.
        counts = [_table_range(shift, start, end)[1] for shift in _SHIFTS[:3]]
        for level, shift in enumerate(_SHIFTS[:3]):
            place = tables + sum(counts[level + 1 :])
            first, number = _table_range(shift, start, end)
            table = array("Q", bytes(number * PAGE_SIZE))
            index = (start >> shift) - first * _ENTRIES
            table[index : index + len(entries)] = entries
            self._write(place, table.tobytes())
            entries = self._entries(place, number, _TABLE)
        return [((start >> _SHIFTS[3]) + index, entry) for index, entry in enumerate(entries)]

    def build_top(self, pfn: int, entries: list[tuple[int, int]]) -> None:
        """Write the table of level 4."""
        table = array("Q", bytes(PAGE_SIZE))
        for index, entry in entries:
            table[index] = entry
        self._write(pfn, table.tobytes())

    def _entries(self, pfn: int, count: int, flags: int) -> array[int]:
        first = (self._first_mfn + pfn << PAGE_SHIFT) | flags
        return array("Q", range(first, first + (count << PAGE_SHIFT), PAGE_SIZE))
