"""What a PV guest on KVM has in the address space that is Xen's, and where ring 0 is in it.

Entries 256 to 271 of every page table of level 4 are Xen's (public/arch-x86/xen-x86_64.h). One holds the
machine-to-physical table, which guests may read; the others are the engine's: descriptor tables, stacks and
code of ring 0, and, where KVM has to be shown changes of page tables, all of memory.
"""

from __future__ import annotations

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.pv.ring_0 import DESCRIPTORS, call_stubs, interrupt_table, trap_stubs
from xenolith.engine.pv_traps.reserved_tables import (
    GIB,
    LARGE_PAGE,
    M2P_BYTES_PER_FRAME,
    OWN_PAGES,
    READ_ONLY,
    TABLE,
    VCPUS_START,
    ReservedTables,
    slot_start,
)
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE
from xenolith.machine.memory import MachineMemory

_M2P_SLOT, _MEMORY_SLOT = 257, 270
"""Not 256, where Xen has the first: there are KVMs that keep it for themselves. Guests ask where the table is."""

M2P_START = slot_start(_M2P_SLOT)
ALL_MEMORY = slot_start(_MEMORY_SLOT)
_SHARED_START = VCPUS_START + GIB

_IDT, _TRAP_STUBS, _CALL_STUBS, _REWRITING = range(4)
INTERRUPT_TABLE, TRAP_STUBS, CALL_STUBS, REWRITING = (
    _SHARED_START + page * PAGE_SIZE for page in (_IDT, _TRAP_STUBS, _CALL_STUBS, _REWRITING)
)
REWRITING_PAGES = 2

_RING_0 = 0x63
"""Rights to pages that only ring 0 sees: present, writable, accessed and dirty."""

_FIXED_BYTES = 64 << 20
"""For tables and for what vCPUs have: much more than 8192 of them need."""


class ReservedArea(ReservedTables):
    """The page tables behind Xen's slots for a machine of ``frames`` frames, in memory of their own.

    ``base`` is where that is in the guest's physical address space, a multiple of 1 GiB.
    """

    def __init__(self, base: int, frames: int) -> None:
        m2p_size = -(-M2P_BYTES_PER_FRAME * frames // LARGE_PAGE) * LARGE_PAGE
        tables = -(-frames * PAGE_SIZE // GIB) + -(-m2p_size // GIB)
        total = m2p_size + tables * PAGE_SIZE + _FIXED_BYTES
        self.base = base
        self.memory = MachineMemory(total >> PAGE_SHIFT)
        self._used = 0
        super().__init__(self._allocate_bytes, frames, _M2P_SLOT, _RING_0, DESCRIPTORS)
        self._map_shared()
        memory_size = -(-frames * PAGE_SIZE // LARGE_PAGE) * LARGE_PAGE
        self.use_slot(_MEMORY_SLOT, self.map_large(0, memory_size, _RING_0) | _RING_0)

    def add_task(self, number: int) -> int:
        """Make a page for a vCPU's task state and stacks; where the host has it."""
        task, _ = self._allocate_bytes()
        self.show(number, OWN_PAGES, [task])
        return self.host_address(task)

    def host_address(self, address: int) -> int:
        """Where the host has a byte of this memory."""
        return self.memory.address + address - self.base

    def _map_shared(self) -> None:
        """What all vCPUs have in common: the interrupt descriptor table and code."""
        level2, entries = self.new_table()
        level1, pages = self.new_table()
        self.vcpus_level3[1], entries[0] = level2 | TABLE, level1 | TABLE
        for page, content, access in (
            (_IDT, interrupt_table(TRAP_STUBS), _RING_0),
            (_TRAP_STUBS, trap_stubs(), _RING_0),
            # Some KVMs have ring 3 execute what SYSCALL enters.
            (_CALL_STUBS, call_stubs(), READ_ONLY),
        ):
            address, view = self._allocate_bytes()
            view[: len(content)] = content
            pages[page] = address | access
        for page in range(REWRITING_PAGES):
            address, _ = self._allocate_bytes()
            pages[_REWRITING + page] = address | _RING_0
            if not page:
                self.rewriting = self.host_address(address)

    def _allocate_bytes(self, size: int = PAGE_SIZE) -> tuple[int, memoryview]:
        """The physical address and a view of some zeroed bytes, a multiple of a page."""
        offset, self._used = self._used, self._used + size
        if self._used > self.memory.size:
            raise EngineError("the engine's tables take more memory than there is for them")
        return self.base + offset, self.memory.view[offset : offset + size]
