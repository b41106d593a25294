"""Memory of the engine itself in the emulated machine: control blocks and page tables.

It lies where no guest can reach it: beyond the addresses that a guest's page tables can name, or behind a nested
page table that does not map it.
"""

from __future__ import annotations

import ctypes
import mmap

from xenolith.engine.hvm import EngineError
from xenolith.machine.address import PAGE_SIZE

_MAP_NORESERVE = 0x4000


class PrivateMemory:
    """A bump allocator of zeroed pages at machine addresses from ``base`` on."""

    def __init__(self, base: int, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._map = mmap.mmap(-1, size, flags=flags)
        self._view = memoryview(self._map)
        self.base = base
        self.size = size
        # The map lives as long as this object, and the object as long as the engine.
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._used = 0

    def allocate(self, size: int = PAGE_SIZE) -> tuple[int, memoryview]:
        """The machine address and a view of ``size`` zeroed bytes, a multiple of a page."""
        if self._used + size > self.size:
            raise EngineError("the guest's memory map is too fragmented for the engine's tables")
        offset = self._used
        self._used += size
        return self.base + offset, self._view[offset : offset + size]
