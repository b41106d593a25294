"""Guest memory for the builder's tests: machine memory whose frames are the guest's."""

from __future__ import annotations

from xenolith.builder.memory_map import MemoryRange
from xenolith.machine.address import PAGE_SHIFT, GuestPhys
from xenolith.machine.memory import MachineMemory


class FlatMemory:
    """Guest-physical memory in which only the ranges of a memory map may be touched."""

    def __init__(self, memory_map: tuple[MemoryRange, ...]) -> None:
        self.ranges = memory_map
        self.machine = MachineMemory(memory_map[-1].end >> PAGE_SHIFT)

    def write(self, address: GuestPhys, data: bytes) -> None:
        self._check(address, len(data))
        self.machine.write(address, data)

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        self._check(address, size)
        return self.machine.load(address, fd, offset, size)

    def read(self, address: int, size: int) -> bytes:
        return self.machine.read(address, size)

    def _check(self, address: GuestPhys, size: int) -> None:
        assert any(r.start <= address and address + size <= r.end for r in self.ranges)
