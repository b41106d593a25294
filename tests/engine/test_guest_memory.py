"""What a guest finds in its memory: after a long REP STOS, in holes, behind a late nested page table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xenolith.engine.hvm import CpuState, Segment
from xenolith.engine.unicorn.engine import UnicornEngine
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

MIB = 1 << 20
MEMORY = 32 * MIB
CODE = 0x1000
LEVEL_4, LEVEL_3, LEVEL_2 = 0x2000, 0x3000, 0x4000
ENDLESS_3, ENDLESS_2 = 0x5000, 0x6000
TOP = 1 << 64
TARGET, SIZE = 8 * MIB + 24, 16 * MIB

PRESENT_WRITABLE_ACCESSED, DIRTY, LARGE = 0x23, 0x40, 0x80
LONG_MODE = CpuState(
    rip=CODE,
    cr0=0x80000011,
    cr3=LEVEL_4,
    cr4=0x20,
    efer=0x500,
    cs=Segment(attributes=0xA9B),
)
END = b"\x0f\x01\xd9"


class Recorder:
    """Stops the guest at its first hypercall; nothing else is expected of it."""

    def __init__(self) -> None:
        self.engine: UnicornEngine | None = None
        self.ended = False
        self.may_shut_down = False

    def hypercall(self) -> None:
        assert self.engine is not None
        self.ended = True
        self.engine.stop()

    def pending_vector(self) -> int:
        return -1

    def vector_delivered(self, vector: int) -> None:
        raise AssertionError(vector)

    def triple_fault(self) -> None:
        assert self.may_shut_down, "the guest's CPU has shut down"
        self.hypercall()

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        raise AssertionError(leaf, subleaf)

    def read_msr(self, msr: int) -> int:
        raise AssertionError(msr)

    def write_msr(self, msr: int, value: int) -> None:
        raise AssertionError(msr, value)

    def read_port(self, port: int, size: int) -> int:
        raise AssertionError(port, size)

    def write_port(self, port: int, size: int, value: int) -> None:
        raise AssertionError(port, size, value)

    def halt(self) -> None:
        raise AssertionError("HLT")

    def pause(self) -> None:
        raise AssertionError("PAUSE")


def page_tables(memory: MachineMemory, leaf: int) -> None:
    """Identity-map the first GiB in pages of 2 MiB."""
    words = memory.view.cast("Q")
    words[LEVEL_4 // 8] = LEVEL_3 | PRESENT_WRITABLE_ACCESSED
    words[LEVEL_3 // 8] = LEVEL_2 | PRESENT_WRITABLE_ACCESSED
    for slot in range(512):
        words[LEVEL_2 // 8 + slot] = slot << 21 | leaf | LARGE


@pytest.mark.parametrize(
    ("opcode", "width"), [(b"\xf3\xaa", 1), (b"\xf3\xab", 4), (b"\xf3\x48\xab", 8)]
)
@pytest.mark.parametrize("dirty", [DIRTY, 0])
@pytest.mark.parametrize("value", [0, 0x5A5A5A5A5A5A5A5A])
def test_all_is_stored_and_nothing_else(opcode: bytes, width: int, dirty: int, value: int) -> None:
    memory = MachineMemory(MEMORY // PAGE_SIZE)
    engine = UnicornEngine(memory)
    recorder = Recorder()
    recorder.engine = engine
    vcpu = engine.new_vcpu(recorder)
    engine.map(Gfn(0), Mfn(0), memory.frames)
    page_tables(memory, PRESENT_WRITABLE_ACCESSED | dirty)
    memory.write(CODE, opcode + END)
    memory.write(TARGET - 8, b"\xff" * (SIZE + 16))
    state = CpuState(**{**vars(LONG_MODE), "general": {
        "rdi": TARGET, "rcx": SIZE // width, "rax": value,
    }})  # fmt: skip
    vcpu.reset(state)
    while not recorder.ended:
        vcpu.run()

    assert engine.registers.rdi == TARGET + SIZE
    assert engine.registers.rcx == 0
    stored = (value & 0xFF).to_bytes(1, "little") * SIZE
    assert memory.read(TARGET - 8, 8) == b"\xff" * 8
    assert memory.read(TARGET, SIZE) == stored
    assert memory.read(TARGET + SIZE, 8) == b"\xff" * 8
    entry = memory.view.cast("Q")[(LEVEL_2 + (TARGET >> 21) * 8) // 8]
    assert entry & DIRTY
    engine.close()


def test_the_store_is_cut_short_by_the_end_of_memory() -> None:
    memory = MachineMemory(MEMORY // PAGE_SIZE)
    engine = UnicornEngine(memory)
    recorder = Recorder()
    recorder.engine = engine
    vcpu = engine.new_vcpu(recorder)
    engine.map(Gfn(0), Mfn(0), memory.frames)
    page_tables(memory, PRESENT_WRITABLE_ACCESSED | DIRTY)
    beyond = 4 * PAGE_SIZE
    memory.write(CODE, b"\xf3\xaa" + END)
    vcpu.reset(CpuState(**{**vars(LONG_MODE), "general": {
        "rdi": 16 * MIB, "rcx": MEMORY - 16 * MIB + beyond,
    }}))  # fmt: skip
    while not recorder.ended:
        vcpu.run()
    assert engine.registers.rdi == MEMORY + beyond
    engine.close()


class EndlessMemory:
    """A guest whose whole address space, but for its own first GiB, is one page of 2 MiB, over and over."""

    def __init__(self) -> None:
        self.memory = MachineMemory(MEMORY // PAGE_SIZE)
        self.engine = UnicornEngine(self.memory)
        self.recorder = Recorder()
        self.recorder.engine = self.engine
        self.vcpu = self.engine.new_vcpu(self.recorder)
        self.engine.map(Gfn(0), Mfn(0), self.memory.frames)
        page_tables(self.memory, PRESENT_WRITABLE_ACCESSED | DIRTY)
        words = self.memory.view.cast("Q")
        for slot in range(512):
            words[ENDLESS_2 // 8 + slot] = 8 * MIB | PRESENT_WRITABLE_ACCESSED | DIRTY | LARGE
            words[ENDLESS_3 // 8 + slot] = ENDLESS_2 | PRESENT_WRITABLE_ACCESSED
            if slot:
                words[LEVEL_4 // 8 + slot] = ENDLESS_3 | PRESENT_WRITABLE_ACCESSED

    def store(self, start: int, size: int) -> None:
        """Be about to store zeros, quadword by quadword."""
        self.memory.write(CODE, b"\xf3\x48\xab" + END)
        general = {"rdi": start, "rcx": size // 8}
        self.vcpu.reset(CpuState(**{**vars(LONG_MODE), "general": general}))


@pytest.fixture
def endless() -> Iterator[EndlessMemory]:
    made = EndlessMemory()
    yield made
    made.engine.close()


def test_a_store_without_end_leaves_the_hypervisor_its_thread(endless: EndlessMemory) -> None:
    endless.store(1 << 39, 1 << 34)
    endless.vcpu.run()
    assert 0 < endless.engine.registers.rdi - (1 << 39) < 1 << 30


def test_a_store_ends_where_addresses_end(endless: EndlessMemory) -> None:
    endless.store(TOP - 8 * MIB, 8 * MIB)
    while not endless.recorder.ended:
        endless.vcpu.run()
    assert endless.engine.registers.rdi == 0


def test_a_store_does_not_leave_the_canonical_addresses(endless: EndlessMemory) -> None:
    endless.recorder.may_shut_down = True
    endless.store((1 << 47) - 8 * MIB, 16 * MIB)
    while not endless.recorder.ended:
        endless.vcpu.run()
    assert endless.engine.registers.rdi == 1 << 47


def test_frames_beside_ram_are_found_at_their_addresses() -> None:
    memory = MachineMemory(MEMORY // PAGE_SIZE)
    engine = UnicornEngine(memory)
    recorder = Recorder()
    recorder.engine = engine
    vcpu = engine.new_vcpu(recorder)
    engine.map(Gfn(0), Mfn(0), memory.frames - 1)
    engine.map(Gfn(0xFC000), Mfn(memory.frames - 1))
    memory.write((memory.frames - 1) * PAGE_SIZE, (0x1234).to_bytes(4, "little"))
    # mov eax, [0xfc000000]
    memory.write(CODE, b"\xa1" + GuestPhys(0xFC000000).to_bytes(4, "little") + END)
    vcpu.reset(CpuState(rip=CODE))
    while not recorder.ended:
        vcpu.run()
    assert engine.registers.rax == 0x1234
    engine.close()


@pytest.mark.parametrize("holes", [1, 3, 200])
def test_holes_read_as_all_ones_and_can_be_filled_again(holes: int) -> None:
    memory = MachineMemory(MEMORY // PAGE_SIZE)
    engine = UnicornEngine(memory)
    recorder = Recorder()
    recorder.engine = engine
    vcpu = engine.new_vcpu(recorder)
    engine.map(Gfn(0), Mfn(0), memory.frames)
    hole = Gfn(0x400)
    memory.write(hole * PAGE_SIZE, (0x5678).to_bytes(4, "little"))
    # mov eax, [hole]; vmmcall; mov ebx, [hole]; vmmcall
    address = (hole * PAGE_SIZE).to_bytes(4, "little")
    memory.write(CODE, b"\xa1" + address + END + b"\x8b\x1d" + address + END)
    engine.unmap(hole, holes)
    vcpu.reset(CpuState(rip=CODE))
    while not recorder.ended:
        vcpu.run()
    assert engine.registers.rax == 0xFFFFFFFF

    engine.map(hole, Mfn(hole))
    recorder.ended = False
    while not recorder.ended:
        vcpu.run()
    assert engine.registers.rbx == 0x5678
    engine.close()


def test_a_nested_page_table_comes_in_under_a_running_guest() -> None:
    memory = MachineMemory(MEMORY // PAGE_SIZE)
    engine = UnicornEngine(memory)
    recorder = Recorder()
    recorder.engine = engine
    vcpu = engine.new_vcpu(recorder)
    engine.map(Gfn(0), Mfn(0), memory.frames)
    page_tables(memory, PRESENT_WRITABLE_ACCESSED | DIRTY)
    # vmmcall; mov rbx, [rdi]; vmmcall
    memory.write(CODE, END + b"\x48\x8b\x1f" + END)
    memory.write(TARGET, (0x0123456789ABCDEF).to_bytes(8, "little"))
    vcpu.reset(CpuState(**{**vars(LONG_MODE), "general": {"rdi": TARGET, "r15": 15}}))
    while not recorder.ended:
        vcpu.run()
    engine.unmap(Gfn(0x400), 100)
    recorder.ended = False
    while not recorder.ended:
        vcpu.run()
    assert engine.registers.rbx == 0x0123456789ABCDEF
    assert engine.registers.r15 == 15
    engine.close()
