"""The physmap of a translated domain: which machine frame stands behind each guest frame.

As Xen's p2m (xen/arch/x86/mm/p2m.c) it changes a page at a time, but RAM that the domain was built with costs one
byte a page here, and that only once it is touched: a domain may be larger than the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xenolith.abi.errno import Errno, XenError
from xenolith.machine.address import PAGE_SHIFT, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

_PRESENT, _HOLE, _REMAPPED = 0, 1, 2
_MAX_GFN = (1 << 28) - (1 << 18)
"""The engines' processors have 40-bit guest-physical addresses, the last GiB of which is an engine's own."""


@dataclass(frozen=True, slots=True)
class PlainRam:
    """``count`` guest frames from ``gfn`` on, backed by machine frames from ``mfn`` on.

    Those whose byte in ``other`` is set are not: something else is there, or nothing.
    """

    gfn: Gfn
    mfn: Mfn
    count: int
    other: bytearray


class Mapper(Protocol):
    """What the engine does for the physmap."""

    def map(self, gfn: Gfn, mfn: Mfn, count: int = 1) -> None:
        """Map guest frames to machine frames."""

    def unmap(self, gfn: Gfn, count: int = 1) -> None:
        """Leave guest frames empty."""


@dataclass(frozen=True)
class RamExtent:
    """``count`` guest frames from ``gfn`` on, backed by machine frames from ``mfn`` on."""

    gfn: Gfn
    mfn: Mfn
    count: int


class P2m:
    """The physmap of one domain and the account of its populated frames."""

    def __init__(self, memory: MachineMemory, mapper: Mapper, ram: list[RamExtent]) -> None:
        self._memory = memory
        self._mapper = mapper
        self._ram = ram
        self._low_count = ram[0].count if ram[0].gfn == 0 else 0
        # bytearray() gets zero pages from the kernel: untouched entries cost nothing.
        self._low_state = bytearray(ram[0].count)
        self._states = [self._low_state, *(bytearray(extent.count) for extent in ram[1:])]
        self._ram_frames = sum(extent.count for extent in ram)
        self._free = bytearray(self._ram_frames)
        self._remapped: dict[int, Mfn] = {}
        self._placed: dict[int, Gfn] = {}
        self._grants: set[int] = set()
        self.populated = self._ram_frames
        """Frames of RAM that the domain holds now."""
        self.on_populated: Callable[[int], None] = lambda _frames: None
        """Told the number whenever it has changed."""
        self.is_pinned: Callable[[Mfn], bool] = lambda _mfn: False
        """Whether somebody uses a frame by a grant, so that it must not be freed."""
        for extent in ram:
            mapper.map(extent.gfn, extent.mfn, extent.count)

    @property
    def plain_ram(self) -> list[PlainRam]:
        """Which frames of RAM are behind which guest frames, as long as these are not changed."""
        return [
            PlainRam(extent.gfn, extent.mfn, extent.count, state)
            for extent, state in zip(self._ram, self._states, strict=True)
        ]

    @property
    def max_gfn(self) -> int:
        """The highest guest frame number that has ever been RAM or is mapped now."""
        last = self._ram[-1]
        return max(last.gfn + last.count - 1, *self._remapped, 0)

    def lookup(self, gfn: int) -> Mfn | None:
        """The machine frame behind a guest frame, or None where there is none."""
        if gfn < self._low_count and not self._low_state[gfn]:
            return Mfn(gfn)
        found = self._find(gfn)
        if found is None:
            return self._remapped.get(gfn)
        extent, state = found
        index = gfn - self._ram[extent].gfn
        if state[index] == _PRESENT:
            return Mfn(self._ram[extent].mfn + index)
        return self._remapped.get(gfn)

    def machine_address(self, address: GuestPhys) -> int:
        """The machine byte address behind a guest-physical one; XenError(EFAULT) if none."""
        mfn = self.lookup(address >> PAGE_SHIFT)
        if mfn is None:
            raise XenError(Errno.EFAULT, f"no frame at guest-physical {address:#x}")
        return mfn << PAGE_SHIFT | address & 0xFFF

    def place(self, gfn: Gfn, mfn: Mfn) -> None:
        """Put a frame of the hypervisor's at ``gfn``; RAM that was there is freed.

        XenError(EINVAL, EBUSY) as for :meth:`remove`.
        """
        self._check(gfn)
        self.remove(gfn)
        elsewhere = self._placed.get(mfn)
        if elsewhere is not None:
            # As in Xen, a frame of the hypervisor's is at one place only.
            self.take_away(elsewhere)
        if mfn >= self._ram_frames:
            self._placed[mfn] = gfn
        self._set(gfn, mfn)

    def map_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        """Show a granted frame at ``gfn``, too; RAM that was there is freed.

        XenError(EINVAL, EBUSY) as for :meth:`remove`.
        """
        self._check(gfn)
        self.remove(gfn)
        self._grants.add(gfn)
        self._set(gfn, mfn)

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        """Undo :meth:`map_grant`; XenError(EINVAL) if the frame is not mapped so."""
        if gfn not in self._grants or self.lookup(gfn) != mfn:
            raise XenError(Errno.EINVAL, f"frame {mfn:#x} is not mapped at gfn {gfn:#x}")
        self._grants.discard(gfn)
        self.take_away(gfn)

    def gfn_of_placed(self, mfn: Mfn) -> Gfn | None:
        """Where a frame that is not RAM is, or None."""
        return self._placed.get(mfn)

    def take_away(self, gfn: Gfn) -> Mfn | None:
        """Empty a guest frame, keeping the frame behind it; that frame, or None."""
        mfn = self.lookup(gfn)
        if mfn is None:
            return None
        self._remapped.pop(gfn, None)
        if self._placed.get(mfn) == gfn:
            del self._placed[mfn]
        found = self._find(gfn)
        if found is not None:
            extent, state = found
            state[gfn - self._ram[extent].gfn] = _HOLE
        self._mapper.unmap(gfn)
        return mfn

    def remove(self, gfn: Gfn) -> bool:
        """Empty a guest frame, freeing the RAM behind it; False if it was empty.

        XenError(EBUSY) if a grant is mapped there or the frame is used by one.
        """
        mfn = self.lookup(gfn)
        if mfn is None:
            return False
        if gfn in self._grants or self.is_pinned(mfn):
            raise XenError(Errno.EBUSY, f"the frame at gfn {gfn:#x} is granted")
        self.take_away(gfn)
        if mfn < self._ram_frames:
            self._free[mfn] = 1
            self.populated -= 1
            self.on_populated(self.populated)
            self._memory.discard(mfn)
        return True

    def populate(self, gfns: range) -> bool:
        """Put zeroed frames of RAM at those of ``gfns`` that are empty, at all or at none.

        False if the domain has not so many left; XenError(EINVAL) beyond the address width.
        """
        for gfn in (gfns.start, gfns.stop - 1):
            self._check(gfn)
        empty = [Gfn(gfn) for gfn in gfns if self.lookup(gfn) is None]
        if self.populated + len(empty) > self._ram_frames:
            return False
        for gfn in empty:
            self._set(gfn, self._take_free(gfn))
        if empty:
            self.populated += len(empty)
            self.on_populated(self.populated)
        return True

    def move(self, source: Gfn, target: Gfn) -> None:
        """Make the frame at ``source`` appear at ``target`` instead, where RAM is freed.

        XenError(EINVAL) if there is none, XenError(EBUSY) as for :meth:`remove`.
        """
        self._check(target)
        mfn = self.lookup(source)
        if mfn is None:
            raise XenError(Errno.EINVAL, f"no frame at gfn {source:#x}")
        if source in self._grants:
            raise XenError(Errno.EBUSY, f"a grant is mapped at gfn {source:#x}")
        if source == target:
            return
        self.remove(target)
        placed = self._placed.get(mfn) == source
        self.take_away(source)
        if placed:
            self._placed[mfn] = target
        self._set(target, mfn)

    def _set(self, gfn: Gfn, mfn: Mfn) -> None:
        found = self._find(gfn)
        if found is not None:
            extent, state = found
            index = gfn - self._ram[extent].gfn
            if self._ram[extent].mfn + index == mfn:
                state[index] = _PRESENT
                self._mapper.map(gfn, mfn)
                return
            state[index] = _REMAPPED
        self._remapped[gfn] = mfn
        self._mapper.map(gfn, mfn)

    def _take_free(self, gfn: Gfn) -> Mfn:
        """A free frame of RAM, of which there is one; the guest frame's own if possible."""
        mfn = -1
        found = self._find(gfn)
        if found is not None:
            own = self._ram[found[0]].mfn + gfn - self._ram[found[0]].gfn
            mfn = own if self._free[own] else -1
        if mfn < 0:
            mfn = self._free.index(1)
        self._free[mfn] = 0
        return Mfn(mfn)

    def _find(self, gfn: int) -> tuple[int, bytearray] | None:
        for number, extent in enumerate(self._ram):
            if extent.gfn <= gfn < extent.gfn + extent.count:
                return number, self._states[number]
        return None

    @staticmethod
    def _check(gfn: int) -> None:
        if not 0 <= gfn < _MAX_GFN:
            raise XenError(Errno.EINVAL, f"gfn {gfn:#x} is beyond the address width")
