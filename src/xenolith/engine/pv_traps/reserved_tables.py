"""The page tables behind what is Xen's of a PV guest's address space: entries 256 to 271 of level 4.

One of them shows the machine-to-physical table, read-only (public/arch-x86/xen-x86_64.h); another each vCPU's GDT
and LDT, where the processor reads them whatever the guest has mapped. What else there is, an engine adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from xenolith.engine.pv_traps.numbers import FIRST_SLOT, GUEST_GDT_FRAMES, SLOTS, TABLE_PAGES
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn

Allocator = Callable[[int], tuple[int, memoryview]]
"""Gives some zeroed bytes, a multiple of a page, for good: their machine address and a view of them."""

READ_ONLY, TABLE = 0x65, 0x67
"""Rights to pages: present, user, accessed and dirty; and writable."""
_LARGE = 0x80
LARGE_PAGE, GIB = 2 << 20, 1 << 30
M2P_BYTES_PER_FRAME = 8

_SLOT_SHIFT = 39
_SIGN = 0xFFFF << 48
_VCPUS_SLOT = 260

_LDT, _GDT, OWN_PAGES = 0, TABLE_PAGES, 2 * TABLE_PAGES
"""Where a vCPU's pages begin; the last are the engine's own."""
_PAGES_PER_VCPU = 4 * TABLE_PAGES
"""By what they show; a power of two."""
_VCPUS_PER_LEVEL1 = 512 // _PAGES_PER_VCPU


def slot_start(slot: int) -> GuestVirt:
    """The address from which on a slot is seen."""
    return GuestVirt(_SIGN | slot << _SLOT_SHIFT)


VCPUS_START = slot_start(_VCPUS_SLOT)
"""Up to a GiB from here on is what vCPUs have."""


class VcpuPages(NamedTuple):
    """The addresses at which a vCPU sees its descriptor tables, and pages for whatever else the engine has."""

    ldt: int
    gdt: int
    own: int


class ReservedTables:
    """Those of a machine of ``frames`` frames, in memory of the engine's."""

    def __init__(
        self,
        allocate: Allocator,
        frames: int,
        m2p_slot: int,
        access: int,
        descriptors: Mapping[int, int],
    ) -> None:
        """``access`` are the rights to pages of vCPUs; ``descriptors`` are in the page behind a guest's own."""
        self._allocate = allocate
        self._access = access
        size = -(-M2P_BYTES_PER_FRAME * frames // LARGE_PAGE) * LARGE_PAGE
        # The first of the memory, so aligned as a large page has to be.
        start, view = allocate(size)
        self.m2p = view.cast("Q")
        self.m2p_end = GuestVirt(slot_start(m2p_slot) + size)
        self._slots = [0] * SLOTS
        self.use_slot(m2p_slot, self.map_large(start, size, READ_ONLY) | TABLE)
        level3, self.vcpus_level3 = self.new_table()
        level2, self._level2 = self.new_table()
        self.vcpus_level3[0] = level2 | TABLE
        self.use_slot(_VCPUS_SLOT, level3 | TABLE)
        self._level1: list[memoryview] = []
        self._blank, _ = allocate(PAGE_SIZE)
        self._descriptors = self.descriptor_page(descriptors)

    def fill_slots(self, level4: memoryview) -> None:
        """Write Xen's entries into a page table (format ``Q``)."""
        for index, entry in enumerate(self._slots):
            level4[FIRST_SLOT + index] = entry

    def use_slot(self, slot: int, entry: int) -> None:
        """An entry of all page tables of level 4 that are filled from now on."""
        self._slots[slot - FIRST_SLOT] = entry

    def add_vcpu(self, number: int) -> VcpuPages:
        """Make room for a vCPU, with no descriptors yet."""
        while number // _VCPUS_PER_LEVEL1 >= len(self._level1):
            address, table = self.new_table()
            self._level2[len(self._level1)] = address | TABLE
            self._level1.append(table)
        self.map_gdt(number, ())
        start = VCPUS_START + number * _PAGES_PER_VCPU * PAGE_SIZE
        return VcpuPages(*(start + first * PAGE_SIZE for first in (_LDT, _GDT, OWN_PAGES)))

    def map_gdt(self, number: int, frames: Sequence[Mfn]) -> list[int]:
        """Show a vCPU's descriptor table, with nothing where the guest has no frame; the pages' addresses."""
        pages = self._pages(frames[:GUEST_GDT_FRAMES])
        pages[GUEST_GDT_FRAMES] = self._descriptors
        self.show(number, _GDT, pages)
        return pages

    def map_ldt(self, number: int, frames: Sequence[Mfn | None]) -> list[int]:
        """As :meth:`map_gdt` for the local descriptor table."""
        pages = self._pages(frames[:TABLE_PAGES])
        self.show(number, _LDT, pages)
        return pages

    def show(self, number: int, first: int, pages: Sequence[int]) -> None:
        """Have a vCPU see pages, from the one with a number of its own on."""
        table = self._level1[number // _VCPUS_PER_LEVEL1]
        start = number % _VCPUS_PER_LEVEL1 * _PAGES_PER_VCPU + first
        for index, page in enumerate(pages):
            table[start + index] = page | self._access

    def descriptor_page(self, descriptors: Mapping[int, int]) -> int:
        """A page with descriptors at these indices; its address."""
        address, view = self._allocate(PAGE_SIZE)
        words = view.cast("Q")
        for index, descriptor in descriptors.items():
            words[index] = descriptor
        return address

    def map_large(self, start: int, size: int, access: int) -> int:
        """Tables of level 3 and 2 that map a range by large pages; that of level 3."""
        level3, entries = self.new_table()
        for number, offset in enumerate(range(0, size, GIB)):
            level2, pages = self.new_table()
            entries[number] = level2 | TABLE
            for index, page in enumerate(range(offset, min(size, offset + GIB), LARGE_PAGE)):
                pages[index] = start + page | access | _LARGE
        return level3

    def new_table(self) -> tuple[int, memoryview]:
        """An empty page table: its address, and its entries (format ``Q``)."""
        address, view = self._allocate(PAGE_SIZE)
        return address, view.cast("Q")

    def _pages(self, frames: Sequence[Mfn | None]) -> list[int]:
        """TABLE_PAGES addresses, of empty descriptors where there is no frame."""
        pages = [self._blank if mfn is None else mfn << PAGE_SHIFT for mfn in frames]
        return pages + [self._blank] * (TABLE_PAGES - len(pages))
