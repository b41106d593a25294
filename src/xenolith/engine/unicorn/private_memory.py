"""Memory of the engine itself, behind the guest's in the memory file: control blocks and page tables.

No nested page table ever maps it, so a guest cannot reach it. It is one region of the emulated machine with the
guest's memory, because the emulator remembers only the last region that it looked an address up in, and a walk
of nested page tables reads both by turns.
"""

from __future__ import annotations

from xenolith.engine.hvm import EngineError
from xenolith.machine.address import PAGE_SIZE
from xenolith.machine.memory import MachineMemory

PRIVATE_FRAMES = 16384


class PrivateMemory:
    """A bump allocator of zeroed pages in the engine's frames."""

    def __init__(self, memory: MachineMemory) -> None:
        self._view = memory.engine_view
        self._base = memory.size
        self._used = 0

    def allocate(self, size: int = PAGE_SIZE) -> tuple[int, memoryview]:
        """The machine address and a view of ``size`` zeroed bytes, a multiple of a page."""
        if self._used + size > len(self._view):
            raise EngineError("the guest's memory map is too fragmented for the engine's tables")
        offset = self._used
        self._used += size
        return self._base + offset, self._view[offset : offset + size]
