"""The entries of a PV guest's page tables: what they may say, and what they count as a use of.

Behaves as alloc_l*_table, get_page_from_l*e and mod_l*_entry in xen/arch/x86/mm.c do for a 64-bit guest.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.table_changes import TableChanges
from xenolith.hypervisor.pv.descriptors import check_descriptor_page
from xenolith.hypervisor.pv.linear_page_tables import LinearPageTables
from xenolith.hypervisor.pv.native_mmu import NativeMmu
from xenolith.hypervisor.pv.page_type import PageType, PageTypes
from xenolith.machine.address import PAGE_SHIFT, Mfn
from xenolith.machine.memory import MachineMemory

PRESENT, WRITABLE, USER = 1, 2, 4
ACCESSED, DIRTY, LARGE, GLOBAL = 0x20, 0x40, 0x80, 0x100
_CACHE_ATTRIBUTES = 0x18
_ADDRESS = 0x000F_FFFF_FFFF_F000

ENTRIES = 512
_XEN_SLOTS = range(256, 272)

_L1_DISALLOWED = _CACHE_ATTRIBUTES | LARGE
"""A domain without devices maps memory only, and that write-back; bit 7 is PAT here."""
_DISALLOWED = _CACHE_ATTRIBUTES | LARGE | GLOBAL

_SAME_USE = _ADDRESS | PRESENT | WRITABLE


class PageTables:
    """Validates and changes the page tables of one domain; whole ones of level 1 natively, if it can."""

    def __init__(
        self,
        memory: MachineMemory,
        types: PageTypes,
        fill_reserved_slots: Callable[[Mfn], None],
        native: NativeMmu | None = None,
        changes: TableChanges | None = None,
    ) -> None:
        self._native = native
        self._changes = changes
        self._words = memory.view.cast("Q")
        self._types = types
        self._linear = LinearPageTables(types)
        self._fill_reserved_slots = fill_reserved_slots
        types.validate = self.validate
        types.invalidate = self.invalidate

    def validate(self, mfn: Mfn, kind: PageType) -> None:
        """Count what a frame's entries use, as it becomes a page table; XenError(EINVAL)."""
        if kind is PageType.SEG_DESC:
            check_descriptor_page(self._table(mfn))
            return
        if kind is PageType.L1 and self._native is not None:
            index = self._native.validate_l1(mfn)
            if index >= 0 and self._types.give_up_local_tables():
                index = self._native.validate_l1(mfn)
            if index >= 0:
                raise XenError(Errno.EINVAL, f"entry {index} of level 1")
            return
        table = self._table(mfn)
        counted: list[int] = []
        try:
            for index, entry in enumerate(table.tolist()):
                if entry & PRESENT and not (kind is PageType.L4 and index in _XEN_SLOTS):
                    self._get(mfn, kind, entry)
                    counted.append(entry)
                    if not entry & USER:
                        table[index] = entry | USER
        except XenError:
            for entry in counted:
                self._put(mfn, kind, entry)
            raise
        if kind is PageType.L4:
            self._fill_reserved_slots(mfn)

    def invalidate(self, mfn: Mfn, kind: PageType) -> None:
        """Give up what the entries use, as a frame stops being a page table."""
        if kind is PageType.SEG_DESC:
            return
        if kind is PageType.L1 and self._native is not None:
            self._native.invalidate_l1(mfn)
            return
        table = self._table(mfn)
        if kind is PageType.L4:
            for index in _XEN_SLOTS:
                table[index] = 0
        for entry in table.tolist():
            if entry & PRESENT:
                self._put(mfn, kind, entry)

    def update(self, address: int, value: int, kept: int = 0) -> None:
        """Store an entry at a machine byte address; of the old one, the bits ``kept`` stay. XenError(EINVAL)."""
        mfn, index = address >> PAGE_SHIFT, address >> 3 & ENTRIES - 1
        kind = self._types.type_of(mfn)
        if kind is PageType.L1:
            self.update_l1(mfn, index, value, kept)
        elif PageType.L2 <= kind <= PageType.L4:
            self._update_upper(kind, mfn, index, value, kept)
        else:
            # As in Xen, a page that is no page table is just memory.
            if not self._types.may_be_written(mfn):
                raise XenError(Errno.EINVAL, f"frame {mfn:#x} may not be written")
            self._store(address >> 3, value)

    def update_l1(self, mfn: int, index: int, value: int, kept: int = 0) -> None:
        """As :meth:`update` for an entry of a frame that is in use as a page table of level 1."""
        at = (mfn << PAGE_SHIFT >> 3) + index
        old = self._words[at]
        if not value & PRESENT:
            self._store(at, value)
        elif not (old ^ value) & _SAME_USE:
            if value & _L1_DISALLOWED:
                raise XenError(Errno.EINVAL, f"an entry {value:#x} of level 1")
            self._store(at, value | USER | old & kept)
            return
        else:
            self._get_l1e(value)
            self._store(at, value | USER | old & kept)
        if old & PRESENT:
            self._put_l1e(old)

    def _update_upper(self, kind: PageType, mfn: int, index: int, value: int, kept: int) -> None:
        if kind is PageType.L4 and index in _XEN_SLOTS:
            raise XenError(Errno.EINVAL, f"slot {index} is Xen's")
        at = (mfn << PAGE_SHIFT >> 3) + index
        old = self._words[at]
        if value & PRESENT:
            self._get(mfn, kind, value)
            self._store(at, value | USER | old & kept)
        else:
            self._store(at, value)
        if old & PRESENT:
            self._put(mfn, kind, old)

    def _store(self, at: int, value: int) -> None:
        """Write an entry of a page table that is in use."""
        if self._changes is not None:
            self._changes.add(at << 3, self._words[at], value)
        self._words[at] = value

    def _get_l1e(self, entry: int) -> None:
        if entry & _L1_DISALLOWED:
            raise XenError(Errno.EINVAL, f"an entry {entry:#x} of level 1")
        mfn = (entry & _ADDRESS) >> PAGE_SHIFT
        if entry & WRITABLE:
            self._types.get(mfn, PageType.WRITABLE)
        elif not self._types.is_present(mfn):
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is not the domain's")

    def _put_l1e(self, entry: int) -> None:
        target = (entry & _ADDRESS) >> PAGE_SHIFT
        if entry & WRITABLE:
            self._types.put(target)
        else:
            self._types.unmapped(target)

    def _get(self, table: int, kind: PageType, entry: int) -> None:
        """Count what an entry of ``table`` uses."""
        if kind is PageType.L1:
            self._get_l1e(entry)
            return
        if entry & _DISALLOWED:
            raise XenError(Errno.EINVAL, f"an entry {entry:#x} of level {kind.value}")
        target = (entry & _ADDRESS) >> PAGE_SHIFT
        try:
            self._types.get(target, PageType(kind - 1))
        except XenError:
            if entry & WRITABLE or not self._linear.get(table, kind, target):
                raise

    def _put(self, table: int, kind: PageType, entry: int) -> None:
        target = (entry & _ADDRESS) >> PAGE_SHIFT
        if kind is PageType.L1:
            self._put_l1e(entry)
        elif not self._linear.put(table, kind, target):
            self._types.put(target)

    def _table(self, mfn: int) -> memoryview:
        start = mfn << PAGE_SHIFT >> 3
        return self._words[start : start + ENTRIES]
