"""What a PV guest on Unicorn finds in the address space that is Xen's.

Each vCPU has two global descriptor tables: programs see Xen's own segments at privilege level 3, the kernel, which
runs at CPL 1, at level 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.engine.pv_traps.numbers import FLAT_DESCRIPTORS, GUEST_GDT_FRAMES
from xenolith.engine.pv_traps.reserved_tables import (
    OWN_PAGES,
    READ_ONLY,
    ReservedTables,
    slot_start,
)
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.machine.address import Mfn

_M2P_SLOT = 256
M2P_START = slot_start(_M2P_SLOT)

_TO_LEVEL_1 = 2 << 45
"""The difference of a descriptor of privilege level 3 to one of level 1."""


class ReservedArea(ReservedTables):
    """The page tables behind Xen's slots, for a machine of ``frames`` frames."""

    def __init__(self, private: PrivateMemory, frames: int) -> None:
        super().__init__(private.allocate, frames, _M2P_SLOT, READ_ONLY, FLAT_DESCRIPTORS)
        self._kernel_descriptors = self.descriptor_page(
            {index: descriptor - _TO_LEVEL_1 for index, descriptor in FLAT_DESCRIPTORS.items()}
        )

    def map_gdt(self, number: int, frames: Sequence[Mfn]) -> list[int]:
        """See ReservedTables; what is returned is the table that programs see."""
        pages = super().map_gdt(number, frames)
        kernel_pages = [*pages]
        kernel_pages[GUEST_GDT_FRAMES] = self._kernel_descriptors
        self.show(number, OWN_PAGES, kernel_pages)
        return pages
