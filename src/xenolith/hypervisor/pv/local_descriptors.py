"""The local descriptor table of one PV vCPU, of which pages are shown to the processor once they are needed.

As pv_map_ldt_shadow_page and pv_destroy_ldt of xen/arch/x86/pv/mm.c, and handle_ldt_mapping_fault of
xen/arch/x86/traps.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.pv import PvVcpu as EnginePvVcpu
from xenolith.hypervisor.pv.page_type import PageType, PageTypes
from xenolith.hypervisor.pv.paging import KernelTables, PvPaging
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.machine.memory import MachineMemory

_MOST_ENTRIES = 8192
_ENTRIES_PER_PAGE = 512
_OFFSET = 0xFFF8
"""Of a selector, or of the error code that names one: where its descriptor is in the table."""


def check_local_table(address: int, entries: int) -> None:
    """XenError(EINVAL) where no LDT can be."""
    if entries > _MOST_ENTRIES or address % PAGE_SIZE:
        raise XenError(Errno.EINVAL, f"an LDT of {entries} entries at {address:#x}")


class LocalDescriptors:
    """A table in the kernel's memory; the frames that are shown of it cannot be anything else meanwhile."""

    def __init__(self, memory: MachineMemory, types: PageTypes, vcpu: EnginePvVcpu) -> None:
        self._types = types
        self._vcpu = vcpu
        self._kernel_memory = PvPaging(memory, KernelTables(vcpu))
        self._address = GuestVirt(0)
        self._frames: list[Mfn | None] = []

    def use(self, address: GuestVirt, entries: int) -> None:
        """Use the table at a page of the kernel's; XenError(EINVAL).

        As much of it is shown as can be yet: LAR and its like do not fault where a page is missing.
        """
        check_local_table(address, entries)
        self._give_up()
        self._address = address
        pages = -(-entries // _ENTRIES_PER_PAGE)
        self._frames = [self._take(page) for page in range(pages)]
        self._vcpu.set_ldt(self._frames, entries)

    def show(self, selector: int) -> bool:
        """Show the page of a selector's descriptor, if it is not shown yet and may be."""
        page = (selector & _OFFSET) // PAGE_SIZE
        if not self._is_missing(page):
            return False
        self._frames[page] = self._take(page)
        if self._frames[page] is None:
            return False
        self._vcpu.show_ldt(self._frames)
        return True

    def missing(self, selector: int) -> GuestVirt | None:
        """Where a selector's descriptor would have to be, if its page is not shown."""
        offset = selector & _OFFSET
        return GuestVirt(self._address + offset) if self._is_missing(offset // PAGE_SIZE) else None

    def hide(self) -> None:
        """Show nothing, until it is needed again."""
        self._give_up()
        self._frames = [None] * len(self._frames)
        self._vcpu.show_ldt(self._frames)

    def _is_missing(self, page: int) -> bool:
        return page < len(self._frames) and self._frames[page] is None

    def _take(self, page: int) -> Mfn | None:
        address = GuestVirt(self._address + page * PAGE_SIZE)
        try:
            mfn = Mfn(self._kernel_memory.translate(address) >> PAGE_SHIFT)
            self._types.get(mfn, PageType.SEG_DESC)
        except XenError:
            return None
        self._types.descriptors_shown()
        return mfn

    def _give_up(self) -> None:
        for mfn in self._frames:
            if mfn is not None:
                self._types.put(mfn)
