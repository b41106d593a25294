"""The guest-physical address space of one domain on KVM: memory slots over maps of the domain's memory file.

A slot never changes while its frames do: what stands behind a page is a matter of the host's map of the slot, and
KVM follows that. Empty frames are host pages that nobody may touch; once a guest touches one, all are cut out of
their slots, which costs a request or two for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from xenolith.engine.hvm import MmioHandler
from xenolith.engine.kvm import api
from xenolith.engine.kvm.device import KvmMachine
from xenolith.machine import host_map
from xenolith.machine.address import PAGE_SHIFT, Gfn, Mfn
from xenolith.machine.memory import MachineMemory


@dataclass(frozen=True)
class _Region:
    """Guest frames that are one slot, and where the host has them."""

    slot: int
    gfn: int
    count: int
    host_address: int
    readonly: bool = False

    def host_page(self, gfn: int) -> int:
        return self.host_address + (gfn - self.gfn << PAGE_SHIFT)


class Void:
    """What real hardware answers where nothing is: all ones, and stores go nowhere."""

    def read(self, _offset: int, size: int) -> int:
        """All ones."""
        return (1 << 8 * size) - 1

    def write(self, _offset: int, _size: int, _value: int) -> None:
        """Nothing."""


class AddressSpace:
    """What the guest finds at its physical addresses."""

    def __init__(self, machine: KvmMachine, memory: MachineMemory) -> None:
        self._machine = machine
        self._memory_fd = memory.fd
        self._regions: list[_Region] = []
        self._maps: dict[int, int] = {}
        """The bytes of each map of the host's, by its address."""
        self._holes: set[int] = set()
        """Empty frames that are within a slot."""
        self._devices: dict[int, MmioHandler] = {}
        self._void = Void()

    def map(self, gfn: Gfn, mfn: Mfn, count: int) -> None:
        """Back guest frames by machine frames."""
        end = gfn + count
        self._holes.difference_update(range(gfn, end))
        while gfn < end:
            region, upto = self._region(gfn, end)
            part = upto - gfn
            if region is None:
                self._add(gfn, mfn, part)
            elif region.readonly:
                self._cut(region, gfn, upto)
                self._add(gfn, mfn, part)
            else:
                # The page belongs to a slot's map, which is this object's.
                host_map.replace_shared(
                    region.host_page(gfn), self._memory_fd, mfn << PAGE_SHIFT, part << PAGE_SHIFT
                )
            gfn, mfn = Gfn(gfn + part), Mfn(mfn + part)

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """As :meth:`map` for one frame, which the guest may only read."""
        self._holes.discard(gfn)
        region, upto = self._region(gfn, gfn + 1)
        if region is not None:
            self._cut(region, gfn, upto)
        self._add(gfn, mfn, 1, readonly=True)

    def unmap(self, gfn: Gfn, count: int) -> None:
        """Leave guest frames empty."""
        end = gfn + count
        while gfn < end:
            region, upto = self._region(gfn, end)
            if region is not None and region.readonly:
                self._cut(region, gfn, upto)
            elif region is not None:
                host_map.replace_inaccessible(region.host_page(gfn), upto - gfn << PAGE_SHIFT)
                self._holes.update(range(gfn, upto))
            gfn = Gfn(upto)

    def map_device(self, address: int, handler: MmioHandler) -> None:
        """Put a page of device registers at an address where there is no memory."""
        self._devices[address >> PAGE_SHIFT] = handler

    def device(self, address: int) -> MmioHandler:
        """Whose registers are at an address without memory."""
        return self._devices.get(address >> PAGE_SHIFT, self._void)

    def is_readonly(self, address: int) -> bool:
        """Whether a store to an address must fault."""
        gfn = address >> PAGE_SHIFT
        region, _ = self._region(gfn, gfn + 1)
        return region is not None and region.readonly

    def cut_holes_out(self) -> bool:
        """Make accesses to empty frames ones to devices; False if that changes nothing."""
        holes = sorted(self._holes)
        self._holes.clear()
        for _, run in groupby(enumerate(holes), lambda item: item[1] - item[0]):
            frames = [gfn for _, gfn in run]
            gfn, end = frames[0], frames[-1] + 1
            while gfn < end:
                region, upto = self._region(gfn, end)
                if region is not None:
                    self._cut(region, gfn, upto)
                gfn = upto
        return bool(holes)

    def close(self) -> None:
        """Give the maps back; the machine must be gone."""
        for address, size in self._maps.items():
            host_map.unmap(address, size)

    def _region(self, gfn: int, end: int) -> tuple[_Region | None, int]:
        """The region of a frame, and up to where, ``end`` at most, the frames behind it share its fate."""
        for region in self._regions:
            if region.gfn <= gfn < region.gfn + region.count:
                return region, min(end, region.gfn + region.count)
            if gfn < region.gfn < end:
                end = region.gfn
        return None, end

    def _add(self, gfn: int, mfn: int, count: int, *, readonly: bool = False) -> None:
        size = count << PAGE_SHIFT
        host_address = host_map.map_shared(self._memory_fd, mfn << PAGE_SHIFT, size)
        self._maps[host_address] = size
        self._add_region(gfn, count, host_address, readonly=readonly)

    def _add_region(self, gfn: int, count: int, address: int, *, readonly: bool = False) -> None:
        flags = api.KVM_MEM_READONLY if readonly else 0
        slot = self._machine.add_slot(gfn << PAGE_SHIFT, count << PAGE_SHIFT, address, flags)
        self._regions.append(_Region(slot, gfn, count, address, readonly))

    def _cut(self, region: _Region, start: int, end: int) -> None:
        """Take frames out of a region, which falls in two."""
        self._machine.remove_slot(region.slot)
        self._regions.remove(region)
        if (end - start) << PAGE_SHIFT == self._maps.get(region.host_address):
            host_map.unmap(region.host_address, self._maps.pop(region.host_address))
            return
        host_map.replace_inaccessible(region.host_page(start), end - start << PAGE_SHIFT)
        for first, behind in ((region.gfn, start), (end, region.gfn + region.count)):
            if first < behind:
                self._add_region(
                    first, behind - first, region.host_page(first), readonly=region.readonly
                )
