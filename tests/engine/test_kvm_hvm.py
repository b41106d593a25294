"""HVM vCPUs on KVM: every kind of exit, interrupts and NMIs, and what the guest finds in its memory.

Where KVM emulates ring 0 the same guests run, slowly: none of them is long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import assembler as asm
import pytest
from engine_guest import (
    CODE,
    DATA,
    FRAMES,
    HOLE,
    USER_CODE,
    USER_DATA,
    USER_STACK,
    Guest,
    Handler,
)
from kvm_host import device

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import device as kvm_device
from xenolith.engine.kvm.engine import KvmEngine
from xenolith.engine.kvm.kick import take_kicks
from xenolith.engine.kvm.measure import NATIVE_RATE
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.machine.memory import MachineMemory

WAIT = asm.mov("rcx", 20_000) + b"\xff\xc9" + b"\x75\xfc"
"""mov rcx, 20000; 1: dec ecx; jnz 1b. An emulator looks for interrupts now and then only."""
NMI, BREAKPOINT, GP = 2, 3, 13


class IdentifyingHandler(Handler):
    """Shows the processor as it is, plus one leaf of Xen's."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        if leaf == 0x40000001:
            return 4 << 16 | 17, 0, 0, 0
        return self.guest.engine.base_cpuid(leaf, subleaf)


take_kicks()


def new_guest(vcpus: int = 1) -> Guest:
    kvm = device()

    def new_engine(frames: int) -> tuple[MachineMemory, KvmEngine]:
        memory = MachineMemory(frames)
        return memory, KvmEngine(kvm, memory)

    return Guest(vcpus, new_engine, IdentifyingHandler)


@pytest.fixture
def guest() -> Iterator[Guest]:
    guest = new_guest()
    yield guest
    guest.close()


def test_frames_that_come_and_go_cost_the_host_nothing(guest: Guest) -> None:
    """As a grant that is mapped to be read, again and again, beside RAM and in its place."""

    def address_space() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0])

    before = address_space()
    for _ in range(300):
        for gfn in (Gfn(FRAMES + 8), Gfn(FRAMES - 1)):
            guest.engine.map_readonly(gfn, Mfn(FRAMES))
            guest.engine.unmap(gfn)
            guest.engine.map(gfn, Mfn(FRAMES + 1))
            guest.engine.unmap(gfn)
    assert address_space() - before < 300


def test_a_hypercall_has_its_registers_and_returns_others(guest: Guest) -> None:
    def answer() -> None:
        assert (guest.registers.rdi, guest.registers.r8) == (11, 12)
        guest.registers.rax = 0xFEDC_BA98_7654_3210
        if len(guest.handler.calls) == 2:
            guest.engine.stop()

    guest.handler.on_call = answer
    call = guest.engine.hypercall_instruction
    guest.run(asm.mov("rdi", 11) + asm.mov("r8", 12) + asm.mov("rax", 7) + call)
    assert guest.handler.calls == [7, 0xFEDC_BA98_7654_3210]


def test_a_hypercall_can_be_repeated(guest: Guest) -> None:
    def again() -> None:
        if len(guest.handler.calls) < 3:
            guest.vcpus[0].repeat_hypercall()
        else:
            guest.engine.stop()

    guest.handler.on_call = again
    guest.run(asm.mov("rax", 5))
    assert guest.handler.calls == [5, 5, 5]


def test_state_that_the_hypervisor_looks_at(guest: Guest) -> None:
    guest.run(asm.STI)
    registers = guest.registers
    assert (registers.cpl, registers.long_mode, registers.interrupts_enabled) == (0, True, True)
    assert registers.cr0 & 0x8000_0001 == 0x8000_0001
    assert registers.cr3 == 0x1000
    assert registers.efer & 0x500 == 0x500
    assert registers.rip == CODE + 4


def test_cpuid_is_what_the_hypervisor_says(guest: Guest) -> None:
    guest.run(asm.mov("rax", 0x40000001) + asm.CPUID)
    assert guest.registers.rax == 4 << 16 | 17


def test_msrs_are_the_hypervisors(guest: Guest) -> None:
    guest.handler.msrs = {0x40000000: 5, 0x80F: 6}
    guest.run(
        asm.wrmsr(0x40000000, 0x1234_5678_9ABC)
        + asm.rdmsr(0x80F)
        + asm.mov("rbx", 0)
        + b"\x48\x01\xc3"  # add rbx, rax
        + asm.rdmsr(0x40000000)
    )
    assert guest.handler.exits == [
        ("wrmsr", 0x40000000, 0x1234_5678_9ABC),
        ("rdmsr", 0x80F),
        ("rdmsr", 0x40000000),
    ]
    assert guest.registers.rbx == 6
    assert (guest.registers.rdx, guest.registers.rax) == (0x1234, 0x5678_9ABC)


@pytest.mark.parametrize("code", [asm.rdmsr(0xC001_0200), asm.wrmsr(0xC001_0200, 1)])
def test_an_msr_that_is_not_there_is_a_general_protection(guest: Guest, code: bytes) -> None:
    guest.run(code)
    assert [(trap.vector, trap.error_code) for trap in guest.handler.traps] == [(GP, 0)]


def test_some_msrs_are_the_processors(guest: Guest) -> None:
    guest.run(asm.wrmsr(0xC0000102, 0x1234_5678) + asm.rdmsr(0xC0000102))
    assert guest.handler.exits == []
    assert guest.registers.rax == 0x1234_5678


@pytest.mark.parametrize(
    ("out", "size", "value"),
    [(b"\xee", 1, 0x44), (b"\x66\xef", 2, 0x3344), (b"\xef", 4, 0x11223344)],
)
def test_ports_are_written(guest: Guest, out: bytes, size: int, value: int) -> None:
    guest.run(asm.mov("rax", 0x11223344) + asm.mov("rdx", 0x601) + out)
    assert guest.handler.exits == [("out", 0x601, size, value)]


def test_ports_are_read(guest: Guest) -> None:
    guest.handler.port_value = 0xCAFE
    guest.run(asm.mov("rdx", 0x602) + b"\x66\xed")
    assert guest.handler.exits == [("in", 0x602, 2)]
    assert guest.registers.rax & 0xFFFF == 0xCAFE


def test_strings_go_to_ports(guest: Guest) -> None:
    guest.memory.write(DATA, b"abc")
    guest.run(asm.mov("rdx", 0xE9) + asm.mov("rsi", DATA) + asm.mov("rcx", 3) + asm.REP_OUTSB)
    assert [exit[3] for exit in guest.handler.exits] == [ord("a"), ord("b"), ord("c")]


def test_a_halt_is_left_behind(guest: Guest) -> None:
    guest.run(asm.HLT + asm.mov("rbx", 3))
    assert guest.handler.exits == [("hlt",)]
    guest.go_on()
    assert guest.registers.rbx == 3


def test_an_interrupt_waits_until_the_guest_takes_it(guest: Guest) -> None:
    handler = guest.handler
    handler.vectors = [0x41]
    handler.on_trap = lambda: None
    before = asm.NOP * 3 + asm.STI
    guest.run(before + WAIT + asm.CLI)
    assert handler.delivered == [0x41]
    assert [trap.vector for trap in handler.traps] == [0x41]
    assert handler.traps[0].rip > CODE + len(before)
    assert guest.registers.rcx == 0


def test_interrupts_come_one_after_the_other(guest: Guest) -> None:
    handler = guest.handler
    handler.vectors = [0x51, 0x52, 0x53]
    handler.on_trap = lambda: None
    guest.run(asm.STI + WAIT * 3)
    assert handler.delivered == [0x53, 0x52, 0x51]
    assert [trap.vector for trap in handler.traps] == [0x53, 0x52, 0x51]


def test_an_nmi_comes_though_interrupts_are_off(guest: Guest) -> None:
    guest.handler.on_trap = lambda: None
    guest.run(guest.engine.hypercall_instruction + WAIT)
    guest.vcpus[0].inject_nmi()
    guest.go_on()
    assert [trap.vector for trap in guest.handler.traps] == [NMI]


def test_a_triple_fault_ends_the_run_and_a_reset_begins_anew(guest: Guest) -> None:
    no_table = asm.mov("rax", 0) + asm.store(0x6F00, "rax") + asm.lidt(0x6F00)
    guest.run(no_table + asm.UD2)
    assert guest.handler.exits == [("triple fault",)]
    guest.run(asm.mov("rbx", 7))
    assert guest.registers.rbx == 7
    assert not guest.handler.traps


def test_a_kick_gets_a_spinning_guest_out(guest: Guest) -> None:
    guest.load(asm.mov("rbx", 4) + asm.SPIN)
    with guest.running() as ended:
        assert not ended.is_set()
    assert guest.registers.rbx == 4


def test_vcpus_take_turns_with_registers_of_their_own() -> None:
    guest = new_guest(2)
    call = guest.engine.hypercall_instruction
    for number in range(2):
        code = asm.mov("rbx", 100 + number) + call + asm.store(DATA + 8 * number, "rbx") + call
        guest.load(code, number)
    for number in (0, 1, 0, 1):
        guest.vcpus[number].run()
    assert [guest.read64(DATA), guest.read64(DATA + 8)] == [100, 101]
    guest.close()


class Device:
    """Remembers what is done to its registers."""

    def __init__(self) -> None:
        self.stores: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return offset + size

    def write(self, offset: int, size: int, value: int) -> None:
        self.stores.append((offset, size, value))


def test_device_registers(guest: Guest) -> None:
    registers = Device()
    guest.engine.map_mmio(GuestPhys(HOLE), registers)
    guest.run(
        asm.mov("rsi", HOLE + 0x20)
        + asm.mov("rcx", 0x1122)
        + b"\x89\x0e"  # mov [rsi], ecx
        + b"\x8b\x5e\x10"  # mov ebx, [rsi + 16]
    )
    assert registers.stores == [(0x20, 4, 0x1122)]
    assert guest.registers.rbx == 0x30 + 4


def test_where_nothing_is_all_ones_are_read(guest: Guest) -> None:
    guest.run(asm.load("rbx", HOLE) + asm.store(HOLE, "rbx"))
    assert guest.registers.rbx == (1 << 64) - 1


def test_empty_frames_are_nothing_and_can_be_filled_again(guest: Guest) -> None:
    hole = Gfn(0x400)
    guest.engine.unmap(hole, 3)
    address = (hole + 1) * PAGE_SIZE
    guest.run(asm.store(address, "rsp") + asm.load("rbx", address))
    assert guest.registers.rbx == (1 << 64) - 1
    assert guest.read64(address) == 0

    guest.write64(0x100 * PAGE_SIZE, 0x5678)
    guest.engine.map(Gfn(hole + 1), Mfn(0x100))
    guest.run(asm.load("rbx", address) + asm.load("rsi", address + PAGE_SIZE))
    assert guest.registers.rbx == 0x5678
    assert guest.registers.rsi == (1 << 64) - 1


def in_user_mode(code: bytes) -> bytes:
    """Code that has a program execute the code given."""
    at = CODE + 256
    enter = (
        asm.push(USER_DATA)
        + asm.push(USER_STACK)
        + asm.push(2)
        + asm.push(USER_CODE)
        + asm.push(at)
        + asm.IRETQ
    )
    return enter.ljust(256, asm.NOP) + code + asm.INT3


def test_a_program_finds_nothing_in_empty_frames_either(guest: Guest) -> None:
    """Where ring 0 is emulated it is only here that the processor itself meets what the host does not let it."""
    hole = Gfn(0x400)
    guest.engine.unmap(hole, 8)
    address = (hole + 2) * PAGE_SIZE
    guest.run(in_user_mode(asm.store(address, "rsp") + asm.load("rbx", address)))
    assert guest.handler.traps[0].vector == BREAKPOINT
    assert guest.handler.traps[0].cs == USER_CODE
    assert guest.registers.rbx == (1 << 64) - 1
    assert guest.read64(address) == 0
    guest.engine.map(Gfn(hole + 2), Mfn(hole + 2))
    guest.run(in_user_mode(asm.mov("rbx", 6) + asm.store(address, "rbx")))
    assert guest.read64(address) == 6


def test_a_program_meets_readonly_frames(guest: Guest) -> None:
    guest.engine.map_readonly(Gfn(FRAMES), Mfn(FRAMES))
    guest.run(in_user_mode(asm.store(FRAMES * PAGE_SIZE, "rsp")))
    assert (guest.handler.traps[0].vector, guest.handler.traps[0].error_code) == (GP, 0)
    assert guest.read64(FRAMES * PAGE_SIZE) == 0


def test_programs_run_on_the_processor_itself(guest: Guest) -> None:
    """Whatever is with ring 0: a loop of 20 million instructions takes its time."""
    count = 10_000_000
    begin = time.perf_counter()
    guest.run(in_user_mode(asm.mov("rcx", count) + b"\xff\xc9" + b"\x75\xfc"))
    assert guest.registers.rcx == 0
    assert guest.handler.traps[0].vector == BREAKPOINT
    assert 2 * count / (time.perf_counter() - begin) > NATIVE_RATE


def test_a_frame_may_be_put_in_place_of_another(guest: Guest) -> None:
    address = 0x300 * PAGE_SIZE
    guest.write64(0x301 * PAGE_SIZE, 0x77)
    guest.run(asm.load("rbx", address))
    assert guest.registers.rbx == 0
    guest.engine.map(Gfn(0x300), Mfn(0x301))
    guest.run(asm.load("rbx", address))
    assert guest.registers.rbx == 0x77


def test_a_store_to_a_readonly_frame_faults(guest: Guest) -> None:
    guest.engine.map_readonly(Gfn(FRAMES), Mfn(FRAMES))
    address = FRAMES * PAGE_SIZE
    guest.write64(address, 0x99)
    guest.run(asm.load("rbx", address) + asm.store(address, "rsp"))
    assert guest.registers.rbx == 0x99
    assert [(trap.vector, trap.error_code) for trap in guest.handler.traps] == [(GP, 0)]
    assert guest.read64(address) == 0x99


def test_a_frame_in_the_middle_of_memory_becomes_readonly_and_again_writable(guest: Guest) -> None:
    address = 0x300 * PAGE_SIZE
    guest.write64(0x301 * PAGE_SIZE, 0x77)
    for _ in range(3):
        guest.engine.map_readonly(Gfn(0x300), Mfn(0x301))
        guest.run(asm.load("rbx", address) + asm.store(address, "rsp"))
        assert guest.registers.rbx == 0x77
        assert guest.handler.traps.pop().vector == GP
        guest.engine.map(Gfn(0x300), Mfn(0x300))
        guest.run(asm.mov("rbx", 5) + asm.store(address, "rbx"))
        assert guest.read64(address) == 5
        assert not guest.handler.traps


def test_the_guest_reads_the_hosts_time_stamp_counter(guest: Guest) -> None:
    before = guest.engine.tsc()
    guest.run(b"\x0f\x31")
    after = guest.engine.tsc()
    assert before < guest.registers.rdx << 32 | guest.registers.rax < after


def test_a_host_without_kvm_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm_device, "PATH", "/dev/there-is-none")
    with pytest.raises(EngineError, match="/dev/there-is-none cannot be opened"):
        kvm_device.KvmDevice.open()
