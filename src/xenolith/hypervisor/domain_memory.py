"""A domain's memory: its RAM through the physmap, and the hypervisor's own frames beside it."""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError
from xenolith.engine.hvm import HvmEngine
from xenolith.hypervisor.p2m import P2m, PlainRam, RamExtent
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

XEN_FRAMES = 1024
"""Frames of the memory file beside RAM: shared info, grant frames, special pages, firmware tables."""


class DomainMemory:
    """The builder's PhysicalMemory and the grant table's GrantMemory, over one memory file."""

    def __init__(
        self, machine: MachineMemory, engine: HvmEngine, ram: tuple[tuple[Gfn, int], ...]
    ) -> None:
        self.machine = machine
        self._engine = engine
        self.ram = _extents(ram)
        """Where RAM lies in the guest's physical memory and in the memory file."""
        self.p2m = P2m(machine, engine, self.ram)
        ram_frames = sum(extent.count for extent in self.ram)
        self._free = [Mfn(mfn) for mfn in range(machine.frames - 1, ram_frames - 1, -1)]

    @property
    def populated(self) -> int:
        """Frames of RAM that the domain holds now."""
        return self.p2m.populated

    def allocate_frame(self) -> Mfn:
        """A zeroed machine frame that is not the guest's RAM; XenError(ENOMEM)."""
        if not self._free:
            raise XenError(Errno.ENOMEM, "no frame left beside the guest's RAM")
        return self._free.pop()

    def free_frame(self, mfn: Mfn) -> None:
        """Take a frame back, out of the physmap as well."""
        gfn = self.gfn_of(mfn)
        if gfn is not None:
            self.p2m.take_away(gfn)
        self.machine.discard(mfn)
        self._free.append(mfn)

    def add_frames(self, gfn: Gfn, count: int) -> None:
        """Put frames that are not RAM at ``gfn``: special pages, firmware tables."""
        for offset in range(count):
            self.p2m.place(Gfn(gfn + offset), self.allocate_frame())

    def frame(self, mfn: Mfn) -> memoryview:
        """A writable view of a machine frame."""
        return self.machine.frame(mfn)

    @property
    def view(self) -> memoryview:
        """A writable view of all machine frames."""
        return self.machine.view

    def guest_frame(self, gfn: Gfn) -> memoryview:
        """A writable view of the frame behind a guest frame number; XenError(EINVAL) if none."""
        mfn = self.p2m.lookup(gfn)
        if mfn is None:
            raise XenError(Errno.EINVAL, f"no frame at gfn {gfn:#x}")
        return self.machine.frame(mfn)

    @property
    def plain_ram(self) -> list[PlainRam]:
        """What of RAM is where it was built, as P2m has it."""
        return self.p2m.plain_ram

    def mfn_of(self, gfn: Gfn) -> Mfn | None:
        """The frame behind a guest frame number, or None."""
        return self.p2m.lookup(gfn)

    def gfn_of(self, mfn: Mfn) -> Gfn | None:
        """Where the guest has put a frame that is not RAM, or None."""
        return self.p2m.gfn_of_placed(mfn)

    def written(self, gfn: Gfn, count: int = 1) -> None:
        """Backends and grant copies have written guest frames: code may have changed."""
        self._engine.invalidate_code(gfn, count)

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        """Show a granted frame at ``gfn``; XenError as P2m.map_grant()."""
        self.p2m.map_grant(gfn, mfn)
        if readonly:
            self._engine.map_readonly(gfn, mfn)

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        """Undo :meth:`map_grant`; XenError(EINVAL) if another frame is there."""
        self.p2m.unmap_grant(gfn, mfn)

    def write(self, address: GuestPhys, data: bytes | memoryview) -> None:
        """Store bytes at a guest-physical address."""
        done = 0
        while done < len(data):
            room = PAGE_SIZE - (address + done & PAGE_SIZE - 1)
            machine = self.p2m.machine_address(GuestPhys(address + done))
            self.machine.write(machine, data[done : done + room])
            done += room

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        """Copy from a file into one extent of RAM, as MachineMemory.load(); XenError(EINVAL)."""
        start = self.p2m.machine_address(address)
        end = self.p2m.machine_address(GuestPhys(address + size - 1))
        if end - start != size - 1:
            raise XenError(Errno.EINVAL, f"{address:#x}+{size:#x} is not contiguous")
        return self.machine.load(start, fd, offset, size)

    def fill_code_page(self, gfn: Gfn, code: bytes) -> bool:
        """Write a page of code for the guest; False if there is no frame."""
        mfn = self.p2m.lookup(gfn)
        if mfn is None:
            return False
        self.machine.write(mfn << PAGE_SHIFT, code)
        self._engine.invalidate_code(gfn, 1)
        return True


def _extents(ram: tuple[tuple[Gfn, int], ...]) -> list[RamExtent]:
    """Back RAM by the memory file from its start, in order."""
    extents, mfn = [], 0
    for gfn, count in ram:
        extents.append(RamExtent(gfn, Mfn(mfn), count))
        mfn += count
    return extents
