"""What a PV guest finds in the address space that is Xen's: the machine-to-physical table and descriptor tables.

Entries 256 to 271 of every page table of level 4 are Xen's (public/arch-x86/xen-x86_64.h). The first holds the
machine-to-physical table, read-only; another one holds each vCPU's GDT and LDT, where the processor reads them
whatever the guest has mapped.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.engine.pv_traps.numbers import (
    FIRST_SLOT,
    FLAT_DESCRIPTORS,
    GUEST_GDT_FRAMES,
    SLOTS,
    TABLE_PAGES,
)
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn

M2P_START = GuestVirt(0xFFFF_8000_0000_0000)

_M2P_SLOT, _TABLES_SLOT = 256, 260
_TABLES_START = 0xFFFF_8200_0000_0000
_LARGE_PAGE = 2 << 20
_GIB = 1 << 30

_READ_ONLY, _TABLE = 0x65, 0x67
"""Present, user, accessed and dirty; and writable."""
_LARGE = 0x80

_LDT, _USER_GDT, _KERNEL_GDT = (index * TABLE_PAGES for index in range(3))
_PAGES_PER_VCPU = 4 * TABLE_PAGES
"""By what they show; a power of two."""
_VCPUS_PER_LEVEL1 = 512 // _PAGES_PER_VCPU

_TO_LEVEL_1 = 2 << 45
"""The difference of a descriptor of privilege level 3 to one of level 1."""


class ReservedArea:
    """The page tables behind Xen's slots, for a machine of ``frames`` frames."""

    def __init__(self, private: PrivateMemory, frames: int) -> None:
        self._private = private
        size = -(-8 * frames // _LARGE_PAGE) * _LARGE_PAGE
        # The first of the private memory, so aligned as a large page has to be.
        start, view = private.allocate(size)
        self.m2p = view.cast("Q")
        self.m2p_end = GuestVirt(M2P_START + size)
        m2p_level3 = self._map_large(start, size)
        level3, self._level3 = self._new_table()
        self._level2_address, self._level2 = self._new_table()
        self._level3[0] = self._level2_address | _TABLE
        self._level1: list[memoryview] = []
        self._blank, _ = private.allocate()
        self._flat, flat = private.allocate()
        self._kernel_flat, kernel_flat = private.allocate()
        for index, descriptor in FLAT_DESCRIPTORS.items():
            flat.cast("Q")[index] = descriptor
            kernel_flat.cast("Q")[index] = descriptor - _TO_LEVEL_1
        self.slots = [0] * SLOTS
        """The entries from FIRST_SLOT on of every page table of level 4."""
        self.slots[_M2P_SLOT - FIRST_SLOT] = m2p_level3 | _TABLE
        self.slots[_TABLES_SLOT - FIRST_SLOT] = level3 | _TABLE

    def add_vcpu(self, number: int) -> tuple[int, int, int]:
        """Make room for a vCPU's tables; where its LDT will be, its GDT, and its GDT for the kernel.

        In the last one Xen's own segments are of privilege level 1.
        """
        while number // _VCPUS_PER_LEVEL1 >= len(self._level1):
            address, table = self._new_table()
            self._level2[len(self._level1)] = address | _TABLE
            self._level1.append(table)
        self.map_gdt(number, ())
        start = _TABLES_START + number * _PAGES_PER_VCPU * PAGE_SIZE
        ldt, gdt, kernel_gdt = (
            start + first * PAGE_SIZE for first in (_LDT, _USER_GDT, _KERNEL_GDT)
        )
        return ldt, gdt, kernel_gdt

    def map_gdt(self, number: int, frames: Sequence[Mfn]) -> list[int]:
        """Show a vCPU's descriptor table, with nothing where the guest has no frame; the pages' addresses.

        They are those of the table that programs have.
        """
        pages = [mfn << PAGE_SHIFT for mfn in frames[:GUEST_GDT_FRAMES]]
        pages += [self._blank] * (TABLE_PAGES - len(pages))
        pages[GUEST_GDT_FRAMES] = self._kernel_flat
        self._map(number, _KERNEL_GDT, pages)
        pages[GUEST_GDT_FRAMES] = self._flat
        self._map(number, _USER_GDT, pages)
        return pages

    def map_ldt(self, number: int, frames: Sequence[Mfn | None]) -> list[int]:
        """As :meth:`map_gdt` for the local descriptor table."""
        pages = [self._blank if mfn is None else mfn << PAGE_SHIFT for mfn in frames[:TABLE_PAGES]]
        pages += [self._blank] * (TABLE_PAGES - len(pages))
        self._map(number, _LDT, pages)
        return pages

    def _map(self, number: int, first: int, pages: Sequence[int]) -> None:
        table = self._level1[number // _VCPUS_PER_LEVEL1]
        start = number % _VCPUS_PER_LEVEL1 * _PAGES_PER_VCPU + first
        for index, page in enumerate(pages):
            table[start + index] = page | _READ_ONLY

    def _map_large(self, start: int, size: int) -> int:
        """Tables of level 3 and 2 that map a range by large pages, read-only; that of level 3."""
        level3, entries = self._new_table()
        for number, offset in enumerate(range(0, size, _GIB)):
            level2, pages = self._new_table()
            entries[number] = level2 | _TABLE
            for index, page in enumerate(range(offset, min(size, offset + _GIB), _LARGE_PAGE)):
                pages[index] = start + page | _READ_ONLY | _LARGE
        return level3

    def _new_table(self) -> tuple[int, memoryview]:
        address, view = self._private.allocate()
        return address, view.cast("Q")
