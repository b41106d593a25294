"""What each machine frame of a PV domain may be used as: the counterpart of struct page_info's type_info in Xen.

A frame is a page table of one level, holds descriptors, or may be written by the guest; never two of these at
once, as long as any use is counted. That keeps a guest from writing its own page tables (xen/arch/x86/mm.c).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from enum import IntEnum

from xenolith.abi.errno import Errno, XenError
from xenolith.machine.address import Mfn


class PageType(IntEnum):
    """PGT_*: a page table's level is its number."""

    NONE = 0
    L1 = 1
    L2 = 2
    L3 = 3
    L4 = 4
    SEG_DESC = 5
    WRITABLE = 7


TYPE_SHIFT = 28
PINNED = 1 << 27
ABSENT = 1 << 26
"""The frame is not the guest's: the hypervisor's own, or given back."""
COUNT = ABSENT - 1

HIDDEN, SHOWN, SHOWN_AND_UNMAPPED = range(3)
"""Of :attr:`PageTypes.local_tables`."""

_MAP_NORESERVE = 0x4000


class PageTypes:
    """The types of ``frames`` machine frames, none of them in use yet.

    ``validate(mfn, type)`` is asked before a frame becomes a page table or descriptor page, with the type already
    taken, and raises XenError where its content does not allow that; ``invalidate(mfn, type)`` is told when the
    last use is gone. ``flush`` makes every vCPU forget its translations.
    """

    def __init__(self, frames: int, flush: Callable[[], None]) -> None:
        self.frames = frames
        area = mmap.mmap(
            -1, 4 * frames, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        )
        self.info = memoryview(area).cast("I")
        """One word a frame: its type from TYPE_SHIFT on, PINNED, ABSENT, and how often it is in use."""
        self.existing = memoryview(bytearray(8)).cast("Q")
        """How many frames there are so far: those that were never the guest's come last."""
        self.existing[0] = frames
        self.validate: Callable[[Mfn, PageType], None]
        self.invalidate: Callable[[Mfn, PageType], None]
        self.is_granted: Callable[[Mfn], bool] = lambda _mfn: False
        """Whether somebody uses a frame by a grant, so that it may not come to hold tables, nor be freed."""
        self.hide_local_tables: Callable[[], None] = lambda: None
        """Show no descriptors of LDTs to any processor until they are needed again."""
        self._flush = flush
        self.local_tables = memoryview(bytearray(1))
        """Whether descriptors of LDTs are shown, and a page with descriptors has been unmapped meanwhile."""
        self.writable_dropped = memoryview(bytearray(1))
        """1 if a frame that the guest could write has lost its last such use since the last flush."""

    def type_of(self, mfn: int) -> PageType:
        """The type that a frame is in use as; NONE where it is in no such use or does not exist."""
        if mfn >= self.frames:
            return PageType.NONE
        info = self.info[mfn]
        return PageType(info >> TYPE_SHIFT) if info & COUNT else PageType.NONE

    def is_present(self, mfn: int) -> bool:
        """Whether a frame is the guest's."""
        return 0 <= mfn < self.existing[0] and not self.info[mfn] & ABSENT

    def may_be_written(self, mfn: int) -> bool:
        """Whether a frame is the guest's and in no use that forbids it to be written."""
        return self.is_present(mfn) and self.type_of(mfn) in (PageType.NONE, PageType.WRITABLE)

    def get(self, mfn: int, kind: PageType) -> None:
        """Count a use of a frame; XenError(EINVAL) if it is not the guest's or in use as another type."""
        if not self.is_present(mfn):
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is not the domain's")
        info = self.info[mfn]
        if info & COUNT:
            if info >> TYPE_SHIFT == PageType.SEG_DESC != kind and self.give_up_local_tables():
                return self.get(mfn, kind)
            if info >> TYPE_SHIFT != kind:
                raise XenError(
                    Errno.EINVAL,
                    f"frame {mfn:#x} is {PageType(info >> TYPE_SHIFT).name}, not {kind.name}",
                )
            if info & COUNT == COUNT:
                raise XenError(Errno.EBUSY, f"frame {mfn:#x} is in use too often")
            self.info[mfn] = info + 1
            return
        if kind is PageType.WRITABLE:
            self.info[mfn] = kind << TYPE_SHIFT | 1
            return
        if self.is_granted(Mfn(mfn)):
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is granted")
        self.info[mfn] = kind << TYPE_SHIFT | 1
        if self.writable_dropped[0]:
            # Somebody may still be able to write it by a translation that is kept.
            self.flush()
        try:
            self.validate(Mfn(mfn), kind)
        except XenError:
            self.info[mfn] = 0
            raise

    def put(self, mfn: int) -> None:
        """Undo one :meth:`get`."""
        info = self.info[mfn] - 1
        self.info[mfn] = info
        if info & COUNT:
            return
        kind = PageType(info >> TYPE_SHIFT)
        if kind is PageType.WRITABLE:
            self.writable_dropped[0] = 1
        else:
            self.invalidate(Mfn(mfn), kind)
            if kind is not PageType.SEG_DESC:
                # A processor that remembers an entry above would still walk what the guest can write from now on.
                self.flush()
        self.info[mfn] &= ABSENT

    def pin(self, mfn: int, kind: PageType) -> None:
        """Keep a frame in use as a page table until :meth:`unpin`; XenError(EINVAL)."""
        self.get(mfn, kind)
        if self.info[mfn] & PINNED:
            self.put(mfn)
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is pinned already")
        self.info[mfn] |= PINNED

    def unpin(self, mfn: int) -> None:
        """Undo :meth:`pin`; XenError(EINVAL) if it is not pinned."""
        if not self.is_present(mfn) or not self.info[mfn] & PINNED:
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is not pinned")
        self.info[mfn] &= ~PINNED
        self.put(mfn)

    def descriptors_shown(self) -> None:
        """Descriptors of an LDT are shown to a processor."""
        if self.local_tables[0] == HIDDEN:
            self.local_tables[0] = SHOWN

    def unmapped(self, mfn: int) -> None:
        """A mapping of a frame that could not be written by it is gone."""
        if self.local_tables[0] == SHOWN and self.type_of(mfn) is PageType.SEG_DESC:
            self.local_tables[0] = SHOWN_AND_UNMAPPED

    def give_up_local_tables(self) -> bool:
        """Hide all LDTs, if a page with descriptors has been unmapped since they were shown; whether that is so.

        Xen hides them as soon as such a page is unmapped. Here it is done when somebody wants the page.
        """
        if self.local_tables[0] != SHOWN_AND_UNMAPPED:
            return False
        self.local_tables[0] = HIDDEN
        self.hide_local_tables()
        return True

    def remove(self, mfn: Mfn) -> None:
        """Take a frame from the guest; what is still mapped of it stays counted."""
        self.info[mfn] |= ABSENT

    def add(self, mfn: Mfn) -> None:
        """Give a frame to the guest."""
        self.info[mfn] &= ~ABSENT

    def flush(self) -> None:
        """Make every vCPU forget its translations."""
        self.writable_dropped[0] = 0
        self._flush()
