"""The guest-physical address space of one domain on the Unicorn engine.

At first guest-physical addresses are those of the emulated machine, and what stands behind a page is a matter of
the host's own map: the emulator then walks the guest's page tables alone, which makes refilling its TLB, a third
of the time of a context switch, three times as fast. A nested page table comes in only once it has something to
forbid: when more than a few of the guest's frames are empty, or one is read-only. It maps every address to itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from xenolith.engine.hvm import EngineError, MmioHandler
from xenolith.engine.unicorn.machine import EmulatedMachine
from xenolith.engine.unicorn.mmio import MmioPages
from xenolith.engine.unicorn.nested_paging import NestedPageTable
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.machine import host_map
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, Mfn
from xenolith.machine.memory import MachineMemory

MAX_GUEST_ADDRESS = (1 << 40) - (1 << 30)
"""The emulated CPU has 40-bit addresses, and the last GiB of them is the engine's."""

_TABLES_BASE = MAX_GUEST_ADDRESS
_TABLES_BYTES = 64 << 20
_DEVICES_BASE = _TABLES_BASE + (256 << 20)
_RELOCATED_BASE = _TABLES_BASE + (512 << 20)

_SMALLEST_RAM = 1024
"""Regions of fewer frames are the hypervisor's own: special pages, firmware tables."""

_UNFILTERED_HOLES = 64
"""How many empty frames the guest may have before a nested page table keeps it from using them."""


@cache
def _blank_page() -> int:
    """A file of one page of all ones, for this process and those forked from it."""
    blank = os.memfd_create("xenolith-void", os.MFD_CLOEXEC)
    os.write(blank, b"\xff" * PAGE_SIZE)
    return blank


@dataclass(frozen=True)
class _Region:
    """Guest frames that are one region of the emulated machine, and where the host has them."""

    gfn: int
    count: int
    host_address: int

    def host_page(self, gfn: int) -> int:
        return self.host_address + (gfn - self.gfn << PAGE_SHIFT)


class AddressSpace:
    """What the guest finds at its physical addresses.

    ``on_filter(root)`` is called when a nested page table comes in: every vCPU has to be entered anew with it.
    The caller flushes the TLB after a change.
    """

    def __init__(
        self,
        machine: EmulatedMachine,
        memory: MachineMemory,
        devices: MmioPages,
        on_filter: Callable[[int], None],
    ) -> None:
        self._machine = machine
        self._memory_fd = memory.fd
        self._devices = devices
        self._on_filter = on_filter
        self._regions: list[_Region] = []
        self._holes: set[int] = set()
        self._device_pages: dict[int, MmioHandler] = {}
        self._relocated: dict[int, int] = {}
        self._nested: NestedPageTable | None = None
        self._void_page = 0

    def map(self, gfn: Gfn, mfn: Mfn, count: int) -> None:
        """Back guest frames by machine frames; several at once only where there was nothing."""
        region = self._region(gfn)
        if region is not None:
            address = region.host_page(gfn)
            # The page belongs to a region's map, which is this object's.
            host_map.replace_shared(
                address, self._memory_fd, mfn << PAGE_SHIFT, count << PAGE_SHIFT
            )
            self.invalidate_code(gfn, count)
        elif gfn in self._device_pages:
            # A region cannot take the place of a device page while the emulator runs.
            self._filter()
            self._relocate(gfn, mfn)
        else:
            self._add_region(gfn, mfn, count)
        self._holes = {hole for hole in self._holes if not gfn <= hole < gfn + count}
        if self._nested is not None:
            machine = self._relocated.get(gfn, gfn << PAGE_SHIFT)
            self._nested.map(gfn << PAGE_SHIFT, machine, count << PAGE_SHIFT)

    def map_readonly(self, gfn: Gfn, mfn: Mfn) -> None:
        """As :meth:`map` for one frame, which the guest may only read."""
        self.map(gfn, mfn, 1)
        machine = self._relocated.get(gfn, gfn << PAGE_SHIFT)
        self._filter().map_readonly(gfn << PAGE_SHIFT, machine)

    def unmap(self, gfn: Gfn, count: int) -> None:
        """Leave guest frames empty: they read as all ones."""
        if self._nested is not None:
            self._nested.unmap(gfn << PAGE_SHIFT, count << PAGE_SHIFT)
            return
        for frame in range(gfn, gfn + count):
            region = self._region(frame)
            if region is not None:
                host_map.replace_private(region.host_page(frame), _blank_page(), 0, PAGE_SIZE)
                self.invalidate_code(Gfn(frame), 1)
                self._holes.add(frame)
        if len(self._holes) > _UNFILTERED_HOLES:
            self._filter()

    def map_device(self, address: int, handler: MmioHandler) -> None:
        """Put a page of device registers at an address where there is no memory."""
        gfn = address >> PAGE_SHIFT
        self._devices.map(self._machine.handle, address, handler)
        self._device_pages[gfn] = handler
        if self._nested is not None:
            self._nested.map(address, address, PAGE_SIZE)

    def map_void(self, address: int, void: MmioHandler) -> None:
        """Put a page that is nothing at all where the guest has gone astray."""
        page = address & -PAGE_SIZE
        if self._nested is None and len(self._device_pages) < _UNFILTERED_HOLES:
            self.map_device(page, void)
            return
        nested = self._filter()
        if not self._void_page:
            self._void_page = _DEVICES_BASE
            self._devices.map(self._machine.handle, self._void_page, void)
        nested.map(page, self._void_page, PAGE_SIZE)

    def gaps(self) -> list[tuple[int, int]]:
        """The ranges of addresses, first and last, that are not RAM."""
        gaps, start = [], 0
        for region in sorted(self._regions, key=lambda region: region.gfn):
            if region.count < _SMALLEST_RAM:
                continue
            if region.gfn << PAGE_SHIFT > start:
                gaps.append((start, (region.gfn << PAGE_SHIFT) - 1))
            start = region.gfn + region.count << PAGE_SHIFT
        gaps.append((start, MAX_GUEST_ADDRESS - 1))
        return gaps

    def invalidate_code(self, gfn: Gfn, count: int) -> None:
        """Forget code translated from guest frames."""
        region = self._region(gfn)
        if region is None:
            return
        self._machine.invalidate_code(region.host_page(gfn), count << PAGE_SHIFT)

    def host_address(self, address: int) -> int | None:
        """Where the host has a byte of the guest's memory; None where there is none, or it may be hidden."""
        gfn = address >> PAGE_SHIFT
        region = self._region(gfn)
        if region is None or self._nested is not None or gfn in self._holes:
            return None
        return region.host_page(gfn) + address % PAGE_SIZE

    def invalidate_code_at(self, address: int) -> None:
        """Forget code translated from the page of an address."""
        self.invalidate_code(Gfn(address >> PAGE_SHIFT), 1)

    def close(self) -> None:
        """Give the maps back; the emulator must be gone."""
        for region in self._regions:
            host_map.unmap(region.host_address, region.count << PAGE_SHIFT)

    def _region(self, gfn: int) -> _Region | None:
        for region in self._regions:
            if region.gfn <= gfn < region.gfn + region.count:
                return region
        return None

    def _add_region(self, gfn: int, mfn: int, count: int) -> None:
        if gfn + count << PAGE_SHIFT > MAX_GUEST_ADDRESS:
            raise EngineError("a domain of the unicorn engine has less than 1 TiB of addresses")
        size = count << PAGE_SHIFT
        host_address = host_map.map_shared(self._memory_fd, mfn << PAGE_SHIFT, size)
        # Each map lives as long as the emulator: close() ends it afterwards.
        self._machine.add_memory(gfn << PAGE_SHIFT, size, host_address)
        self._regions.append(_Region(gfn, count, host_address))

    def _relocate(self, gfn: int, mfn: int) -> None:
        """Back a frame at an address of the emulated machine that is not the guest's own."""
        address = _RELOCATED_BASE + (len(self._relocated) << PAGE_SHIFT)
        host_address = host_map.map_shared(self._memory_fd, mfn << PAGE_SHIFT, PAGE_SIZE)
        self._machine.add_memory(address, PAGE_SIZE, host_address)
        self._regions.append(_Region(gfn, 1, host_address))
        self._relocated[gfn] = address

    def _filter(self) -> NestedPageTable:
        """Bring the nested page table in, if it is not there yet."""
        if self._nested is not None:
            return self._nested
        tables = PrivateMemory(_TABLES_BASE, _TABLES_BYTES)
        self._tables = tables
        self._machine.add_memory(_TABLES_BASE, _TABLES_BYTES, tables.host_address)
        self._nested = nested = NestedPageTable(tables.allocate)
        for region in self._regions:
            start = region.gfn << PAGE_SHIFT
            nested.map(start, start, region.count << PAGE_SHIFT)
        for gfn in self._holes:
            nested.unmap(gfn << PAGE_SHIFT, PAGE_SIZE)
        for gfn in self._device_pages:
            nested.map(gfn << PAGE_SHIFT, gfn << PAGE_SHIFT, PAGE_SIZE)
        self._holes.clear()
        self._on_filter(nested.root)
        return nested
