"""A domain's nested page table: guest-physical to machine addresses, in 1 GiB, 2 MiB and 4 KiB entries.

The format is that of the host's own long-mode page tables (AMD APM volume 2, section 15.25.5).
"""

from __future__ import annotations

from collections.abc import Callable

ENTRIES = 512
_LEVEL_SHIFTS = (39, 30, 21, 12)
_LEAF_LEVEL = 3
_PRESENT_USER, _PRESENT_WRITE_USER = 5, 7
_LARGE = 0x80
_ADDRESS = 0x000F_FFFF_FFFF_F000


class NestedPageTable:
    """Maps guest frames to machine addresses; the caller flushes the TLB after a change.

    ``allocate`` returns the machine address of a zeroed page and a view of it.
    """

    def __init__(self, allocate: Callable[[], tuple[int, memoryview]]) -> None:
        self._allocate = allocate
        self._tables: dict[int, memoryview] = {}
        self._spare: list[int] = []
        self.root = self._new_table()

    def map(self, address: int, machine: int, size: int) -> None:
        """Map ``size`` bytes, multiples of 4096, in the largest entries that fit."""
        while size:
            level = self._largest_level(address | machine, size)
            self._set(address, level, machine | _PRESENT_WRITE_USER)
            step = 1 << _LEVEL_SHIFTS[level]
            address += step
            machine += step
            size -= step

    def map_readonly(self, address: int, machine: int) -> None:
        """Map one page of 4096 bytes for reading and execution only."""
        self._set(address, _LEAF_LEVEL, machine | _PRESENT_USER)

    def unmap(self, address: int, size: int) -> None:
        """Leave ``size`` bytes unmapped."""
        while size:
            level = self._largest_level(address, size)
            self._set(address, level, 0)
            step = 1 << _LEVEL_SHIFTS[level]
            address += step
            size -= step

    def lookup(self, address: int) -> int | None:
        """The machine address that a guest-physical address is mapped to."""
        table = self._tables[self.root]
        for level, shift in enumerate(_LEVEL_SHIFTS):
            entry = table[address >> shift & 511]
            if not entry:
                return None
            if level == _LEAF_LEVEL or entry & _LARGE:
                base = entry & _ADDRESS
                return base | address & (1 << shift) - 1
            table = self._tables[entry & _ADDRESS]
        raise AssertionError("unreachable")

    def _largest_level(self, alignment: int, size: int) -> int:
        for level in (1, 2):
            span = 1 << _LEVEL_SHIFTS[level]
            if size >= span and not alignment & (span - 1):
                return level
        return _LEAF_LEVEL

    def _new_table(self) -> int:
        if self._spare:
            return self._spare.pop()
        address, view = self._allocate()
        self._tables[address] = view.cast("Q")
        return address

    def _set(self, address: int, level: int, entry: int) -> None:
        if entry and level != _LEAF_LEVEL:
            entry |= _LARGE
        table = self._tables[self.root]
        for upper in range(level):
            table = self._descend(table, address >> _LEVEL_SHIFTS[upper] & 511, upper)
        index = address >> _LEVEL_SHIFTS[level] & 511
        self._release(table[index], level)
        table[index] = entry

    def _descend(self, table: memoryview, index: int, level: int) -> memoryview:
        """The table below an entry, made by splitting the entry where it is large or empty."""
        entry = table[index]
        if entry and not entry & _LARGE:
            return self._tables[entry & _ADDRESS]
        address = self._new_table()
        below = self._tables[address]
        if entry:
            shift = _LEVEL_SHIFTS[level + 1]
            flags = _PRESENT_WRITE_USER | (_LARGE if level + 1 < _LEAF_LEVEL else 0)
            for slot in range(ENTRIES):
                below[slot] = (entry & _ADDRESS) + (slot << shift) | flags
        table[index] = address | _PRESENT_WRITE_USER
        return below

    def _release(self, entry: int, level: int) -> None:
        """Take back the tables below an entry that is about to be overwritten."""
        if not entry or entry & _LARGE or level == _LEAF_LEVEL:
            return
        address = entry & _ADDRESS
        table = self._tables[address]
        for slot in range(ENTRIES):
            self._release(table[slot], level + 1)
            table[slot] = 0
        self._spare.append(address)
