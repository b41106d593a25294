"""What is KVM's own about PV vCPUs: copies of page tables, several vCPUs, ports."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Iterator

import assembler as asm
import kvm_host
import pytest
from pv_guest import (
    CALL,
    CODE,
    FLAT_CS32,
    FLAT_CS64,
    FLAT_SS,
    KERNEL_BASE,
    KERNEL_ROOT,
    STACK,
    SYSCALL_ENTRY,
    USER_CODE,
    USER_DATA,
    USER_FRAME,
    PvGuest,
)

from xenolith.engine.choice import EngineName
from xenolith.engine.kvm.pv import ring_0
from xenolith.engine.kvm.pv.engine import KvmPvEngine
from xenolith.engine.kvm.pv.reserved_area import ALL_MEMORY, CALL_STUBS, TRAP_STUBS
from xenolith.engine.kvm.pv.vcpu import KvmPvVcpu
from xenolith.engine.kvm.structures.registers import Segment
from xenolith.engine.pv import PvCpuState
from xenolith.engine.table_changes import TableChanges
from xenolith.machine.address import PAGE_SIZE, GuestVirt, Mfn

HYPERCALL = asm.mov("rax", CALL) + asm.SYSCALL
READ = asm.mov("rax", USER_DATA) + b"\x48\x8b\x18" + HYPERCALL
"""mov rbx, [USER_DATA], and tell."""
DATA_FRAME = USER_FRAME + 5
CHANGES = 1000
DEBUG_VECTOR = 1


@pytest.fixture
def guest() -> Iterator[PvGuest]:
    kvm_host.device()
    made = PvGuest(EngineName.KVM)
    yield made
    made.close()


def put_entry(guest: PvGuest, at: int, value: int) -> None:
    """Change an entry of a page table as the hypervisor does, and flush the TLB."""
    engine = guest.engine
    if engine.changes is not None:
        engine.changes.add(at, int.from_bytes(guest.memory.read(at, 8), "little"), value)
    guest.memory.write(at, value.to_bytes(8, "little"))
    engine.flush_tlb()


def test_a_frame_behind_an_address_can_be_exchanged(guest: PvGuest) -> None:
    other = DATA_FRAME + 1
    guest.write64(KERNEL_BASE + DATA_FRAME * PAGE_SIZE, 0x11)
    guest.write64(KERNEL_BASE + other * PAGE_SIZE, 0x22)
    guest.run(READ)
    assert guest.registers.rbx == 0x11
    put_entry(guest, guest.entry(KERNEL_ROOT, USER_DATA), other << 12 | 0x67)
    guest.run(READ)
    assert guest.registers.rbx == 0x22


def test_a_page_that_was_written_can_become_read_only(guest: PvGuest) -> None:
    write = asm.mov("rax", USER_DATA) + b"\x48\x89\x18" + HYPERCALL
    guest.run(write)
    assert guest.calls == [CALL]
    put_entry(guest, guest.entry(KERNEL_ROOT, USER_DATA), DATA_FRAME << 12 | 0x65)
    guest.run(write)
    assert guest.faults == [("wp", USER_DATA)]


def test_a_whole_table_can_be_taken_away(guest: PvGuest) -> None:
    guest.run(READ)
    table = KERNEL_ROOT << 12
    for shift in (39, 30):
        at = table + 8 * (USER_DATA >> shift & 511)
        table = int.from_bytes(guest.memory.read(at, 8), "little") & ~0xFFF
    put_entry(guest, table + 8 * (USER_DATA >> 21 & 511), 0)
    guest.run(READ)
    assert (guest.frame.stub, guest.frame.error_code) == (14, 0)


def test_more_changes_than_there_is_room_for_count_as_well(guest: PvGuest) -> None:
    guest.write64(KERNEL_BASE + (DATA_FRAME + 1) * PAGE_SIZE, 0x22)
    guest.run(READ)
    at = guest.entry(KERNEL_ROOT, USER_DATA)
    for _ in range(CHANGES):
        put_entry(guest, at, DATA_FRAME << 12 | 0x67)
        put_entry(guest, at, DATA_FRAME + 1 << 12 | 0x67)
    guest.run(READ)
    assert guest.registers.rbx == 0x22


def test_vcpus_have_registers_and_stacks_of_their_own(guest: PvGuest) -> None:
    second = guest.engine.new_vcpu(guest)
    second.use_info(26 << 12)

    def on_call() -> None:
        if len(guest.calls) > 1:
            guest.engine.stop()
            return
        second.reset(
            PvCpuState(
                rip=GuestVirt(CODE),
                rsp=GuestVirt(STACK),
                cs=FLAT_CS64,
                ss=FLAT_SS,
                kernel_root=Mfn(KERNEL_ROOT),
                general={"rbx": 7},
            )
        )

    guest.on_call = on_call
    guest.start(HYPERCALL + asm.mov("rbx", 5) + HYPERCALL + asm.SPIN)
    guest.vcpu.run()
    assert guest.registers.rbx == 5
    guest.on_call = guest.engine.stop
    second.run()
    assert second.registers.rbx == 7
    assert second.registers.rip == CODE + len(HYPERCALL)
    assert guest.registers.rbx == 5


@pytest.mark.parametrize("port", [0x80, *sorted(ring_0.CALL_PORTS)])
@pytest.mark.parametrize("direction", [0xE4, 0xE6])
def test_programs_have_no_ports(guest: PvGuest, port: int, direction: int) -> None:
    frame = guest.run_program(bytes([direction, port]), general={"rax": 0x1234})
    assert (frame.stub, frame.error_code, frame.rip) == (13, 0, USER_CODE)
    assert guest.registers.rax == 0x1234


@pytest.mark.parametrize("offset", range(20))
def test_code_that_programs_see_of_the_engines_ends(guest: PvGuest, offset: int) -> None:
    jump = asm.mov("rax", CALL_STUBS + offset) + b"\xff\xe0"
    thread = threading.Thread(target=guest.run_program, args=(jump,), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert guest.frames and not guest.crashes


def enter_ring_0_for_a_breakpoint(guest: PvGuest, came_from: int) -> None:
    """What a processor does at an address of ring 0 when MOV SS has put a breakpoint off until there."""
    vcpu = guest.vcpu
    assert isinstance(vcpu, KvmPvVcpu)
    vcpu.enter()
    ring_0_code = Segment(
        selector=ring_0.CODE_SELECTOR, limit=-1, type=11, present=1, s=1, l=1, g=1
    )
    ring_0_stack = Segment(
        selector=ring_0.STACK_SELECTOR, limit=-1, type=3, present=1, s=1, db=1, g=1
    )
    frame = (came_from, ring_0.CODE_SELECTOR, 2, USER_DATA, ring_0.STACK_SELECTOR)
    end = vcpu.state.trap_frame - PAGE_SIZE // 2
    for index, word in enumerate(frame):
        ctypes.c_uint64.from_address(end - 40 + 8 * index).value = word
    vcpu.special.cs, vcpu.special.ss = ring_0_code, ring_0_stack
    vcpu.registers.rip = TRAP_STUBS + 4 * DEBUG_VECTOR
    guest.go_on()


def test_a_breakpoint_behind_mov_ss_does_not_keep_a_system_call_from_arriving(
    guest: PvGuest,
) -> None:
    general = {"rcx": USER_CODE + 2, "r11": 0x202}
    guest.start(rip=USER_CODE, rsp=USER_DATA, in_kernel=False, general=general)
    enter_ring_0_for_a_breakpoint(guest, CALL_STUBS)
    assert (guest.frame.stub, guest.frame.rip) == (SYSCALL_ENTRY, USER_CODE + 2)
    assert (guest.frame.rsp, guest.frame.cs) == (USER_DATA, FLAT_CS64)


def test_a_breakpoint_behind_mov_ss_does_not_keep_a_trap_from_arriving(guest: PvGuest) -> None:
    guest.start(rip=USER_CODE, rsp=USER_DATA, in_kernel=False)
    assert isinstance(guest.vcpu, KvmPvVcpu)
    frame = (USER_CODE + 1, FLAT_CS64, 0x202, USER_DATA, FLAT_SS)
    for index, word in enumerate(frame):
        ctypes.c_uint64.from_address(guest.vcpu.state.trap_frame - 40 + 8 * index).value = word
    enter_ring_0_for_a_breakpoint(guest, TRAP_STUBS + 4 * 3)
    assert (guest.frame.stub, guest.frame.rip) == (3, USER_CODE + 1)
    assert (guest.frame.rsp, guest.frame.cs) == (USER_DATA, FLAT_CS64)


def test_no_trap_in_ring_0_finds_its_stack_where_the_guest_wants_it() -> None:
    table = memoryview(ring_0.interrupt_table(TRAP_STUBS)).cast("Q")
    stacks = [table[2 * vector] >> 32 & 7 for vector in range(256)]
    assert all(stacks)
    assert stacks.count(stacks[DEBUG_VECTOR]) == 1
    task = ring_0.task_state(0x7000, 0x6800)
    ends = {stack: int.from_bytes(task[0x1C + 8 * stack :][:8], "little") for stack in set(stacks)}
    assert sorted(ends.values()) == [0x6800, 0x7000]


def test_a_frame_for_iret_is_none_where_only_ring_0_can_read_it(guest: PvGuest) -> None:
    frame = guest.iret_frame(CODE, FLAT_CS64 & ~3, rsp=STACK)
    guest.memory.write(DATA_FRAME * PAGE_SIZE, frame)
    guest.run(asm.mov("rax", 23) + asm.SYSCALL, rsp=ALL_MEMORY + DATA_FRAME * PAGE_SIZE)
    assert guest.crashes and "iret" in guest.crashes[0]


@pytest.mark.parametrize(
    ("rip", "cs"),
    [(1 << 62, FLAT_CS64), (0x8000_0000_0000, FLAT_CS64), (1 << 32 | USER_CODE, FLAT_CS32)],
)
def test_a_return_to_what_is_no_address_is_a_fault(guest: PvGuest, rip: int, cs: int) -> None:
    guest.iret(guest.iret_frame(rip, cs))
    assert (guest.frame.stub, guest.frame.error_code, guest.frame.rip) == (13, 0, rip)
    assert guest.frame.cs == cs


def test_traps_are_counted(guest: PvGuest) -> None:
    engine = guest.engine
    assert isinstance(engine, KvmPvEngine)
    guest.run_program(asm.SYSCALL)
    guest.run_program(asm.UD2)
    counts = engine.counts()
    assert (counts["system calls"], counts["other traps"]) == (1, 1)
    assert counts["entries"] >= 4


def test_what_was_never_read_need_not_be_forgotten() -> None:
    changes = TableChanges()
    changes.add(0x1000, 0, 0x67)
    changes.add(0x1008, 0x5000 | 0x07, 0)
    assert not changes.noted()


def test_rights_that_are_added_need_not_be_either() -> None:
    changes = TableChanges()
    changes.add(0x1000, 0x5025, 0x5027)
    changes.add(0x1008, 0x5027, 0x5067)
    changes.add(0x1010, 0x5025, 0x5225)
    assert not changes.noted()


@pytest.mark.parametrize("new", [0, 0x6067, 0x5065, 0x5047, 0x5027, 0x5067 | 1 << 63])
def test_all_else_is_noted(new: int) -> None:
    changes = TableChanges()
    changes.add(0x1000, 0x5067, new)
    assert changes.noted() == [0x1000]


def test_the_second_look_at_random_pages_is_right(guest: PvGuest) -> None:
    """Whatever is changed in whatever order, what is read is what the tables say."""
    generator = random.Random(5)
    at = guest.entry(KERNEL_ROOT, USER_DATA)
    for frame in range(40, 48):
        guest.write64(KERNEL_BASE + frame * PAGE_SIZE, frame)
    for _ in range(50):
        frame = generator.randrange(40, 48)
        put_entry(guest, at, frame << 12 | generator.choice((0x67, 0x65, 0x27)))
        if generator.randrange(2):
            put_entry(guest, at, 0)
            guest.run(READ)
            assert guest.frame.stub == 14
        else:
            guest.run(READ)
            assert guest.registers.rbx == frame
