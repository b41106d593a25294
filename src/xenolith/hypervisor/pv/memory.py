"""The machine frames of a PV domain: its RAM, and the hypervisor's own that it may map.

A PV guest knows its memory by machine frame numbers. What the interface calls a gfn is one, so the domain's event
channels and grants need not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.pv import PvEngine
from xenolith.hypervisor.p2m import PlainRam
from xenolith.hypervisor.pv.native_mmu import count_up
from xenolith.hypervisor.pv.page_type import PageType, PageTypes
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

XEN_FRAMES = 1024
"""Frames in front of RAM: shared info, grant frames. So no frame number is what the guest counts it as."""

INVALID_M2P_ENTRY = (1 << 64) - 1
_REVEALED_AT_ONCE = 512


class PvMemory:
    """The grant table's and the event channels' view of a domain of ``ram_frames`` frames of RAM."""

    def __init__(
        self, machine: MachineMemory, engine: PvEngine, types: PageTypes, ram_frames: int
    ) -> None:
        self.machine = machine
        self.types = types
        self.first_ram = Mfn(XEN_FRAMES)
        self.ram_frames = ram_frames
        self._engine = engine
        self._free = [Mfn(mfn) for mfn in range(XEN_FRAMES - 1, 0, -1)]
        for mfn in range(XEN_FRAMES):
            types.remove(Mfn(mfn))
        self._released: list[Mfn] = []
        self.populated = ram_frames
        """Frames of RAM that the domain holds now."""
        self.on_populated: Callable[[int], None] = lambda _frames: None
        """Told the number whenever it has changed."""

    @property
    def view(self) -> memoryview:
        """A writable view of all machine frames."""
        return self.machine.view

    def allocate_frame(self) -> Mfn:
        """A zeroed frame that the guest may map and that is not its RAM; XenError(ENOMEM)."""
        if not self._free:
            raise XenError(Errno.ENOMEM, "no frame left beside the guest's RAM")
        mfn = self._free.pop()
        self.types.add(mfn)
        # As share_xen_page_with_guest() has it: what the hypervisor writes is never a table.
        self.types.get(mfn, PageType.WRITABLE)
        return mfn

    def free_frame(self, mfn: Mfn) -> None:
        """Take such a frame back. While the guest still maps it, it is given to nothing else."""
        self.machine.discard(mfn)
        self.types.remove(mfn)
        self.types.put(mfn)
        if self.types.type_of(mfn) is PageType.NONE:
            self._free.append(mfn)

    def frame(self, mfn: Mfn) -> memoryview:
        """A writable view of a machine frame."""
        return self.machine.frame(mfn)

    def guest_frame(self, gfn: Gfn) -> memoryview:
        """A writable view of a frame of the guest's, which stays one that may be written; XenError(EINVAL)."""
        self.types.get(gfn, PageType.WRITABLE)
        return self.machine.frame(Mfn(gfn))

    @property
    def plain_ram(self) -> tuple[PlainRam, ...]:
        """None: whether a frame may be granted depends on what it is in use as."""
        return ()

    def mfn_of(self, gfn: Gfn) -> Mfn | None:
        """The frame of a number that the guest gave; None where it has no such frame, or may not write it."""
        return Mfn(gfn) if self.types.may_be_written(gfn) else None

    def gfn_of(self, mfn: Mfn) -> Gfn | None:
        """What the guest calls a frame of the hypervisor's."""
        return Gfn(mfn)

    def written(self, gfn: Gfn, count: int = 1) -> None:
        """Backends and grant copies have written frames: code may have changed."""
        self._engine.invalidate_code(Mfn(gfn), count)

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        """A PV guest maps grants by its page tables: XenError(EINVAL)."""
        raise XenError(Errno.EINVAL, "a PV domain has no physical map")

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        """As :meth:`map_grant`."""
        raise XenError(Errno.EINVAL, "a PV domain has no physical map")

    def release(self, mfn: int) -> bool:
        """Give a frame of RAM back to the host; False if it is not the domain's or in use by a grant."""
        if not self._is_releasable(mfn):
            return False
        self._empty(Mfn(mfn))
        self._released.append(Mfn(mfn))
        self.populated -= 1
        self.on_populated(self.populated)
        return True

    def exchange(self, frames: Sequence[int], order: int) -> list[Mfn] | None:
        """Take frames of RAM and give as many, zeroed, in extents of 1 << ``order`` that follow one another.

        The first frame of each extent; None, and nothing done, where some frame cannot be taken or there are no
        such extents.
        """
        given = {Mfn(mfn) for mfn in frames}
        if len(given) < len(frames) or not all(self._is_releasable(mfn) for mfn in given):
            return None
        starts = self._find(given, order, len(frames) >> order)
        if starts is None:
            return None
        for mfn in given:
            self._empty(mfn)
        taken = {Mfn(start + offset) for start in starts for offset in range(1 << order)}
        for mfn in taken:
            self.types.add(mfn)
        self._released = sorted(given.union(self._released) - taken, reverse=True)
        return starts

    def _find(self, given: set[Mfn], order: int, count: int) -> list[Mfn] | None:
        """So many extents of free frames, or of those that are given; if need be, of withheld ones."""
        starts = _extents_of(given.union(self._released), order, count)
        if starts is None:
            self._reveal(count + 1 << order)
            starts = _extents_of(given.union(self._released), order, count)
        return starts

    def _is_releasable(self, mfn: int) -> bool:
        ram = range(self.first_ram, self.first_ram + self.ram_frames)
        return mfn in ram and self.types.may_be_written(mfn) and not self.types.is_granted(Mfn(mfn))

    def _empty(self, mfn: Mfn) -> None:
        """Take a frame from the guest, and what is in it."""
        self.types.remove(mfn)
        self.machine.discard(mfn)
        self._engine.invalidate_code(mfn, 1)
        self._engine.m2p[mfn] = INVALID_M2P_ENTRY

    def withhold(self, count: int) -> None:
        """Start with ``count`` frames fewer than the domain may have: those with the highest numbers."""
        self.types.existing[0] -= count
        self.populated -= count

    def _reveal(self, count: int) -> None:
        """Have up to so many of the frames that were withheld be among those that are free."""
        first = self.types.existing[0]
        revealed = range(first, min(first + count, self.machine.frames))
        self.types.existing[0] = revealed.stop
        for mfn in revealed:
            self.types.remove(Mfn(mfn))
        self._released[:0] = [Mfn(mfn) for mfn in reversed(revealed)]

    def populate(self, order: int = 0) -> Mfn | None:
        """An extent of 1 << ``order`` zeroed frames for the domain, by its first; None if there is none."""
        starts = self._find(set(), order, 1) if order else None
        if starts:
            (mfn,) = starts
            taken = range(mfn, mfn + (1 << order))
            self._released = [released for released in self._released if released not in taken]
        elif order:
            return None
        else:
            if not self._released:
                self._reveal(_REVEALED_AT_ONCE)
            if not self._released:
                return None
            mfn = self._released.pop()
        for offset in range(1 << order):
            self.types.add(Mfn(mfn + offset))
        self.populated += 1 << order
        self.on_populated(self.populated)
        return mfn

    def number_frames(self, count: int) -> None:
        """Enter the first ``count`` frames of RAM into the machine-to-physical table, in their order."""
        count_up(self._engine.m2p[self.first_ram : self.first_ram + count], 0)

    def write_numbers(self, address: GuestPhys, first: int, count: int) -> None:
        """PseudoPhysicalMemory: store consecutive numbers of 8 bytes at a pseudo-physical address."""
        start = self._machine_address(address)
        count_up(self.view[start : start + 8 * count].cast("Q"), first)

    def write(self, address: GuestPhys, data: bytes | memoryview) -> None:
        """PhysicalMemory: store bytes at a pseudo-physical address."""
        self.machine.write(self._machine_address(address), data)

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        """PhysicalMemory: copy from a file, as MachineMemory.load()."""
        return self.machine.load(self._machine_address(address), fd, offset, size)

    def _machine_address(self, address: GuestPhys) -> int:
        return address + self.first_ram * PAGE_SIZE


def _extents_of(pool: Collection[Mfn], order: int, count: int) -> list[Mfn] | None:
    """So many aligned extents of frames of the pool, by their first ones; None if there are not as many."""
    size = 1 << order
    starts: list[Mfn] = []
    for mfn in sorted(pool, reverse=not order):
        if len(starts) == count:
            break
        if not mfn % size and all(mfn + offset in pool for offset in range(1, size)):
            starts.append(mfn)
    return starts if len(starts) == count else None
