"""What a PV guest on KVM has in the address space that is Xen's, and where ring 0 is in it.

Entries 256 to 271 of every page table of level 4 are Xen's (public/arch-x86/xen-x86_64.h). One holds the
machine-to-physical table, which guests may read; the others are the engine's: descriptor tables, stacks and
code of ring 0, and, where KVM has to be shown changes of page tables, all of memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.pv.ring_0 import call_stubs, descriptors, interrupt_table, trap_stubs
from xenolith.engine.pv_traps.numbers import FIRST_SLOT, GUEST_GDT_FRAMES, SLOTS, TABLE_PAGES
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

_M2P_SLOT, _TABLES_SLOT, _MEMORY_SLOT = 257, 260, 270
"""Not 256, where Xen has the first: there are KVMs that keep it for themselves. Guests ask where the table is."""
_SLOT_SHIFT = 39
_SIGN = 0xFFFF << 48

M2P_START = GuestVirt(_SIGN | _M2P_SLOT << _SLOT_SHIFT)
_VCPUS_START = _SIGN | _TABLES_SLOT << _SLOT_SHIFT
_SHARED_START = _VCPUS_START + (1 << 30)
ALL_MEMORY = _SIGN | _MEMORY_SLOT << _SLOT_SHIFT

_IDT, _TRAP_STUBS, _CALL_STUBS, _REWRITING = range(4)
INTERRUPT_TABLE, TRAP_STUBS, CALL_STUBS, REWRITING = (
    _SHARED_START + page * PAGE_SIZE for page in (_IDT, _TRAP_STUBS, _CALL_STUBS, _REWRITING)
)
REWRITING_PAGES = 2

_LDT, _GDT, _TASK = 0, TABLE_PAGES, 2 * TABLE_PAGES
_PAGES_PER_VCPU = 64
"""By what they show; a power of two."""
_VCPUS_PER_LEVEL1 = 512 // _PAGES_PER_VCPU

_READ_ONLY, _TABLE = 0x65, 0x67
"""Present, user, accessed and dirty; and writable."""
_RING_0 = 0x63
_LARGE = 0x80
_LARGE_PAGE, _GIB = 2 << 20, 1 << 30

PRIVATE_BYTES_PER_FRAME = 8
_FIXED_BYTES = 64 << 20
"""For tables and for what vCPUs have: much more than 8192 of them need."""


class ReservedArea:
    """The page tables behind Xen's slots for a machine of ``frames`` frames, in memory of their own.

    ``base`` is where that is in the guest's physical address space, a multiple of 1 GiB.
    """

    def __init__(self, base: int, frames: int) -> None:
        m2p_size = -(-PRIVATE_BYTES_PER_FRAME * frames // _LARGE_PAGE) * _LARGE_PAGE
        tables = -(-frames * PAGE_SIZE // _GIB) + -(-m2p_size // _GIB)
        total = m2p_size + tables * PAGE_SIZE + _FIXED_BYTES
        self.base = base
        self.memory = MachineMemory(total >> PAGE_SHIFT)
        self._used = 0
        # The first of the memory, so aligned as a large page has to be.
        start, view = self._allocate(m2p_size)
        self.m2p = view.cast("Q")
        self.m2p_end = GuestVirt(M2P_START + m2p_size)
        level3, self._level3 = self._new_table()
        level2, self._level2 = self._new_table()
        self._level3[0] = level2 | _TABLE
        self._level1: list[memoryview] = []
        self._blank, _ = self._allocate()
        self._flat, flat = self._allocate()
        flat[:] = descriptors()
        self._map_shared()
        self.slots = [0] * SLOTS
        """The entries from FIRST_SLOT on of every page table of level 4."""
        self._fill(_M2P_SLOT, self._map_large(start, m2p_size, _READ_ONLY) | _TABLE)
        self._fill(_TABLES_SLOT, level3 | _TABLE)
        memory_size = -(-frames * PAGE_SIZE // _LARGE_PAGE) * _LARGE_PAGE
        self._fill(_MEMORY_SLOT, self._map_large(0, memory_size, _RING_0) | _RING_0)

    def add_vcpu(self, number: int) -> tuple[int, int, int, int]:
        """Make room for a vCPU: where its LDT, its GDT and its task state will be; where the host has the last."""
        while number // _VCPUS_PER_LEVEL1 >= len(self._level1):
            address, table = self._new_table()
            self._level2[len(self._level1)] = address | _TABLE
            self._level1.append(table)
        start = _VCPUS_START + number * _PAGES_PER_VCPU * PAGE_SIZE
        task, _ = self._allocate()
        self._map(number, _TASK, [task])
        ldt, gdt, task_state = (start + page * PAGE_SIZE for page in (_LDT, _GDT, _TASK))
        return ldt, gdt, task_state, self.host_address(task)

    def map_gdt(self, number: int, frames: Sequence[Mfn]) -> list[int]:
        """Show a vCPU's descriptor table, with nothing where the guest has no frame; the pages' addresses."""
        pages = [mfn << PAGE_SHIFT for mfn in frames[:GUEST_GDT_FRAMES]]
        pages += [self._blank] * (GUEST_GDT_FRAMES - len(pages))
        pages += [self._flat] + [self._blank] * (TABLE_PAGES - GUEST_GDT_FRAMES - 1)
        self._map(number, _GDT, pages)
        return pages

    def map_ldt(self, number: int, frames: Sequence[Mfn | None]) -> list[int]:
        """As :meth:`map_gdt` for the local descriptor table."""
        pages = [self._blank if mfn is None else mfn << PAGE_SHIFT for mfn in frames[:TABLE_PAGES]]
        pages += [self._blank] * (TABLE_PAGES - len(pages))
        self._map(number, _LDT, pages)
        return pages

    def host_address(self, address: int) -> int:
        """Where the host has a byte of this memory."""
        return self.memory.address + address - self.base

    def _map_shared(self) -> None:
        """What all vCPUs have in common: the interrupt descriptor table and code."""
        level2, entries = self._new_table()
        level1, pages = self._new_table()
        self._level3[1], entries[0] = level2 | _TABLE, level1 | _TABLE
        for page, content, access in (
            (_IDT, interrupt_table(TRAP_STUBS), _RING_0),
            (_TRAP_STUBS, trap_stubs(), _RING_0),
            # Some KVMs have ring 3 execute what SYSCALL enters.
            (_CALL_STUBS, call_stubs(), _READ_ONLY),
        ):
            address, view = self._allocate()
            view[: len(content)] = content
            pages[page] = address | access
        for page in range(REWRITING_PAGES):
            address, _ = self._allocate()
            pages[_REWRITING + page] = address | _RING_0
            if not page:
                self.rewriting = self.host_address(address)

    def _fill(self, slot: int, entry: int) -> None:
        self.slots[slot - FIRST_SLOT] = entry

    def _map(self, number: int, first: int, pages: Sequence[int]) -> None:
        table = self._level1[number // _VCPUS_PER_LEVEL1]
        start = number % _VCPUS_PER_LEVEL1 * _PAGES_PER_VCPU + first
        for index, page in enumerate(pages):
            table[start + index] = page | _RING_0

    def _map_large(self, start: int, size: int, access: int) -> int:
        """Tables of level 3 and 2 that map a range by large pages; that of level 3."""
        level3, entries = self._new_table()
        for number, offset in enumerate(range(0, size, _GIB)):
            level2, pages = self._new_table()
            entries[number] = level2 | _TABLE
            for index, page in enumerate(range(offset, min(size, offset + _GIB), _LARGE_PAGE)):
                pages[index] = start + page | access | _LARGE
        return level3

    def _new_table(self) -> tuple[int, memoryview]:
        address, view = self._allocate()
        return address, view.cast("Q")

    def _allocate(self, size: int = PAGE_SIZE) -> tuple[int, memoryview]:
        """The physical address and a view of some zeroed bytes, a multiple of a page."""
        offset, self._used = self._used, self._used + size
        if self._used > self.memory.size:
            raise EngineError("the engine's tables take more memory than there is for them")
        return self.base + offset, self.memory.view[offset : offset + size]
