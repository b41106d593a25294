"""Builds page tables in the formats of the Intel SDM (volume 3, chapter 4), apart from the code that walks them.

A format is a list of levels from the top; each is (bits of the index, lowest bit of the address it selects).
"""

from __future__ import annotations

from dataclasses import dataclass, field

PRESENT, WRITABLE, USER, LARGE = 1, 2, 4, 1 << 7
NO_EXECUTE = 1 << 63
CR0_PE, CR0_WP, CR0_PG = 1, 1 << 16, 1 << 31
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5
EFER_LMA = 1 << 10

LONG = [(9, 39), (9, 30), (9, 21), (9, 12)]
PAE = [(2, 30), (9, 21), (9, 12)]
LEGACY = [(10, 22), (10, 12)]


@dataclass
class PageTables:
    """Tables in ``memory``, which is guest-physical memory; its pages from ``next_page`` on are free."""

    levels: list[tuple[int, int]]
    memory: bytearray
    next_page: int
    root: int = field(init=False)

    def __post_init__(self) -> None:
        self.entry_bytes = 4 if self.levels is LEGACY else 8
        self.root = self._take_page()

    def map(
        self, virtual: int, physical: int, size_bit: int, leaf: int, upper: int = PRESENT | WRITABLE
    ) -> None:
        """Map one page of 1 << ``size_bit`` bytes; ``leaf`` and ``upper`` are the flags of the entries."""
        table = self.root
        for number, (bits, shift) in enumerate(self.levels):
            at = table + (virtual >> shift & (1 << bits) - 1) * self.entry_bytes
            if shift == size_bit:
                large = LARGE if shift > 12 else 0
                if self.levels is LEGACY and large:
                    # PSE-36: the address bits above 31 go below the frame's.
                    physical = physical & 0xFFC00000 | (physical >> 32 & 0xFF) << 13
                self._put(at, physical | leaf | large)
                return
            if not self._get(at) & PRESENT:
                # The entries of the first of PAE's three levels have no other flags.
                flags = PRESENT if self.levels is PAE and number == 0 else upper
                self._put(at, self._take_page() | flags)
            table = self._get(at) & 0x000F_FFFF_FFFF_F000
        raise AssertionError("no level has pages of that size")

    def _take_page(self) -> int:
        page = self.next_page
        self.next_page += 4096
        return page

    def _get(self, address: int) -> int:
        return int.from_bytes(self.memory[address : address + self.entry_bytes], "little")

    def _put(self, address: int, entry: int) -> None:
        self.memory[address : address + self.entry_bytes] = entry.to_bytes(
            self.entry_bytes, "little"
        )
