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
_MAX_GFN = 1 << 28
"""The engines' processors have 40-bit guest-physical addresses."""


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
        self._low_count = ram[0].count
        # bytearray() gets zero pages from the kernel: untouched entries cost nothing.
        self._low_state = bytearray(ram[0].count)
        self._states = [self._low_state, *(bytearray(extent.count) for extent in ram[1:])]
        self._ram_frames = sum(extent.count for extent in ram)
        self._free = bytearray(self._ram_frames)
        self._remapped: dict[int, Mfn] = {}
        self._placed: dict[int, Gfn] = {}
        self.populated = self._ram_frames
        """Frames of RAM that the domain holds now."""
        self.on_populated: Callable[[int], None] = lambda _frames: None
        """Told the number whenever it has changed."""
        for extent in ram:
            mapper.map(extent.gfn, extent.mfn, extent.count)

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
        """Put a frame of the hypervisor's at ``gfn``; RAM that was there is freed."""
        self._check(gfn)
        self.remove(gfn)
        elsewhere = self._placed.get(mfn)
        if elsewhere is not None:
            # As in Xen, a frame of the hypervisor's is at one place only.
            self.take_away(elsewhere)
        self._set(gfn, mfn)

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
        """Empty a guest frame, freeing the RAM behind it; False if it was empty."""
        mfn = self.take_away(gfn)
        if mfn is None:
            return False
        if mfn < self._ram_frames:
            self._free[mfn] = 1
            self.populated -= 1
            self.on_populated(self.populated)
            self._memory.discard(mfn)
        return True

    def populate(self, gfn: Gfn) -> bool:
        """Put a zeroed frame of RAM at an empty ``gfn``; False if none is left for the domain."""
        self._check(gfn)
        if self.lookup(gfn) is not None:
            return True
        mfn = self._take_free(gfn)
        if mfn is None:
            return False
        self.populated += 1
        self.on_populated(self.populated)
        self._set(gfn, mfn)
        return True

    def move(self, source: Gfn, target: Gfn) -> None:
        """Make the frame at ``source`` appear at ``target`` instead; XenError(EINVAL) if none."""
        self._check(target)
        mfn = self.lookup(source)
        if mfn is None:
            raise XenError(Errno.EINVAL, f"no frame at gfn {source:#x}")
        if source == target:
            return
        self.remove(target)
        self.take_away(source)
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
        if mfn >= self._ram_frames:
            self._placed[mfn] = gfn
        self._mapper.map(gfn, mfn)

    def _take_free(self, gfn: Gfn) -> Mfn | None:
        """A free frame of RAM, the guest frame's own if possible."""
        found = self._find(gfn)
        if found is not None:
            own = self._ram[found[0]].mfn + gfn - self._ram[found[0]].gfn
            if self._free[own]:
                self._free[own] = 0
                return Mfn(own)
        mfn = self._free.find(1)
        if mfn < 0:
            return None
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
