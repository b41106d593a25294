"""How traps of a PV guest reach its kernel, and how its kernel returns from them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import assembler as asm
import kvm_host
import pytest
from pv_guest import (
    BRAND_LEAF,
    CALL,
    CODE,
    CR2,
    EVENT,
    FLAT_CS32,
    FLAT_CS64,
    FLAT_SS,
    KERNEL_BASE,
    KERNEL_ROOT,
    MASK,
    PENDING,
    STACK,
    SYSCALL32_ENTRY,
    SYSCALL_ENTRY,
    TRAP_STACK,
    USER_CODE,
    USER_DATA,
    USER_STACK,
    PvGuest,
)

from xenolith.engine.choice import EngineName
from xenolith.engine.kvm.pv.engine import KvmPvEngine
from xenolith.engine.kvm.pv.measure import measure_ring_3
from xenolith.engine.pv import TrapGate
from xenolith.machine.address import GuestVirt

DIVIDE_BY_ZERO = bytes.fromhex("31c9f7f1")
HYPERCALL = asm.mov("rax", CALL) + asm.SYSCALL
INT_80, INT_81 = b"\xcd\x80", b"\xcd\x81"
NMI = 2
CF, TF, IF, DF, AC = 1 << 0, 1 << 8, 1 << 9, 1 << 10, 1 << 18


@pytest.fixture(params=[EngineName.UNICORN, EngineName.KVM])
def guest(request: pytest.FixtureRequest) -> Iterator[PvGuest]:
    if request.param is EngineName.KVM:
        kvm_host.device()
    made = PvGuest(request.param)
    yield made
    made.close()


def test_a_hypercall_returns_with_rip_and_flags_where_sysret_has_them(guest: PvGuest) -> None:
    guest.run(HYPERCALL)
    assert guest.calls == [CALL]
    assert guest.registers.general(1) == CODE + len(HYPERCALL)
    assert guest.registers.general(11) & IF


def test_a_system_call_enters_the_kernel_on_its_stack_and_page_tables(guest: PvGuest) -> None:
    frame = guest.run_program(asm.SYSCALL, rflags=IF | DF | CF)
    assert frame.stub == SYSCALL_ENTRY
    assert (frame.rip, frame.rsp) == (USER_CODE + 2, USER_STACK)
    assert (frame.cs, frame.ss) == (FLAT_CS64, FLAT_SS)
    assert frame.rcx == USER_CODE + 2
    assert frame.r11 & (DF | CF) == DF | CF
    assert frame.rflags & (DF | CF) == DF | CF
    assert frame.at == TRAP_STACK - 7 * 8
    assert guest.registers.cr3 == KERNEL_ROOT << 12
    assert not guest.registers.rflags & DF


def test_a_system_call_without_a_callback_is_no_instruction(guest: PvGuest) -> None:
    frame = guest.run_program(asm.SYSCALL, callbacks={})
    assert (frame.stub, frame.rip) == (6, USER_CODE)


@pytest.mark.parametrize("rsp", [STACK, STACK - 8, STACK - 16, STACK - 4])
def test_a_trap_in_the_kernel_stays_on_its_stack_aligned(guest: PvGuest, rsp: int) -> None:
    guest.run(DIVIDE_BY_ZERO, rsp=rsp)
    assert guest.frame.stub == 0
    assert guest.frame.at == (rsp & -16) - 7 * 8
    assert guest.frame.rsp == rsp
    # The kernel is told that it was in ring 0.
    assert guest.frame.cs == FLAT_CS64 & ~3
    assert guest.frame.rip == CODE + 2


def test_registers_that_syscall_uses_are_saved_with_every_trap(guest: PvGuest) -> None:
    guest.run(asm.mov("r11", 0x1111) + asm.UD2, general={"rcx": 0x2222})
    assert (guest.frame.rcx, guest.frame.r11) == (0x2222, 0x1111)


@pytest.mark.parametrize("mask", [0, 1])
def test_the_interrupt_flag_of_a_frame_is_the_upcall_mask(guest: PvGuest, mask: int) -> None:
    guest.info[MASK] = mask
    guest.run(DIVIDE_BY_ZERO)
    assert guest.frame.saved_mask == mask
    assert bool(guest.frame.rflags & IF) == (not mask)
    assert guest.info[MASK] == mask


def test_a_gate_may_mask_events(guest: PvGuest) -> None:
    guest.info[MASK] = 0
    guest.run(DIVIDE_BY_ZERO, traps={0: guest.gate(0, masks_events=True)})
    assert (guest.frame.saved_mask, guest.info[MASK]) == (0, 1)


def test_flags_that_a_trap_clears_are_in_its_frame(guest: PvGuest) -> None:
    frame = guest.run_program(DIVIDE_BY_ZERO, rflags=IF | AC)
    assert frame.rflags & AC
    assert not guest.registers.rflags & AC


def test_a_page_fault_of_a_program_tells_address_and_reason(guest: PvGuest) -> None:
    address = 0x1234_5678
    frame = guest.run_program(asm.mov("rax", address) + b"\x88\x08")
    assert (frame.stub, frame.error_code) == (14, 6)
    assert int.from_bytes(guest.info[CR2 : CR2 + 8], "little") == address
    assert frame.at == TRAP_STACK - 8 * 8


def test_a_page_fault_of_the_kernel_looks_like_one_of_ring_0(guest: PvGuest) -> None:
    guest.run(asm.mov("rax", 0x1234_5678) + b"\x8a\x08")
    assert (guest.frame.stub, guest.frame.error_code) == (14, 0)


def test_a_program_cannot_reach_the_kernel(guest: PvGuest) -> None:
    frame = guest.run_program(asm.mov("rax", KERNEL_BASE) + b"\x8a\x08")
    assert (frame.stub, frame.error_code) == (14, 4)


def test_not_even_after_the_kernel_has_used_the_same_page(guest: PvGuest) -> None:
    touch = asm.mov("rax", KERNEL_BASE) + b"\x8a\x08"
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS64), touch, touch)
    assert (guest.frame.stub, guest.frame.error_code) == (14, 4)


def test_nor_after_the_kernel_has_run_at_the_privilege_of_its_selectors(guest: PvGuest) -> None:
    touch = asm.mov("rax", KERNEL_BASE) + b"\x8a\x08"
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS64), touch, LOAD_SS + touch)
    assert (guest.frame.stub, guest.frame.error_code) == (14, 4)


LOAD_SS = b"\x66\xb8\x2b\xe0" + b"\x8e\xd0"
"""mov ax, 0xe02b; mov ss, ax"""


def test_the_kernel_can_load_its_stack_segment(guest: PvGuest) -> None:
    guest.run(LOAD_SS + HYPERCALL)
    assert guest.calls == [CALL]
    assert not guest.frames


def test_the_kernel_can_use_iretq_for_itself(guest: PvGuest) -> None:
    target = CODE + 0x100
    words = (target, FLAT_CS64, IF, STACK, FLAT_SS)
    for number, word in enumerate(words):
        guest.write64(STACK - 40 + 8 * number, word)
    guest.write(target, HYPERCALL)
    guest.run((asm.IRETQ).ljust(0x100, b"\xcc") + HYPERCALL, rsp=STACK - 40)
    assert guest.calls == [CALL]


def test_a_bad_selector_is_the_kernels_general_protection_fault(guest: PvGuest) -> None:
    guest.run(b"\x66\xb8\xf8\x00\x8e\xd8")
    assert (guest.frame.stub, guest.frame.error_code) == (13, 0xF8)


def test_a_write_to_a_read_only_page_is_offered_to_the_hypervisor(guest: PvGuest) -> None:
    guest.change_entry(KERNEL_ROOT, USER_DATA, 2)
    guest.run(asm.mov("rax", USER_DATA) + b"\x88\x08")
    assert guest.faults == [("wp", USER_DATA)]
    assert (guest.frame.stub, guest.frame.error_code) == (14, 3)


def test_what_the_hypervisor_emulates_the_kernel_does_not_hear_of(guest: PvGuest) -> None:
    guest.emulates = True
    guest.run(b"\x0f\x06" + asm.UD2 + b"\xec\x90" + HYPERCALL)
    assert [fault[0] for fault in guest.faults] == ["gp", "ud", "gp"]
    assert (guest.calls, guest.frames) == ([CALL], [])


@pytest.mark.parametrize(
    "instruction", [asm.HLT, asm.CLI, b"\x0f\x01\xf8", b"\x0f\x30", b"\xe4\x80"]
)
def test_programs_get_faults_for_privileged_instructions(
    guest: PvGuest, instruction: bytes
) -> None:
    frame = guest.run_program(instruction)
    assert (frame.stub, frame.error_code, frame.rip) == (13, 0, USER_CODE)
    assert guest.faults == [("gp", 0)]


def test_cpuid_is_the_hypervisors(guest: PvGuest) -> None:
    if (
        isinstance(guest.engine, KvmPvEngine)
        and not measure_ring_3(kvm_host.device()).answers_cpuid
    ):
        pytest.skip("this host's KVM has programs execute CPUID themselves")
    guest.run(asm.mov("rax", BRAND_LEAF) + asm.mov("rcx", 0) + asm.CPUID + asm.SYSCALL)
    assert guest.calls == [BRAND_LEAF + 1]
    assert guest.registers.rbx == 2


def test_int_needs_a_gate_for_programs(guest: PvGuest) -> None:
    frame = guest.run_program(INT_81)
    assert (frame.stub, frame.error_code, frame.rip) == (13, 0x81 * 8 + 2, USER_CODE)


def test_the_kernel_counts_as_ring_1_for_a_gate(guest: PvGuest) -> None:
    guest.run(INT_81)
    assert (guest.frame.stub, guest.frame.error_code) == (13, 0x81 * 8 + 2)
    guest.run(INT_81, traps={0x81: guest.gate(0x81, dpl=1)})
    assert (guest.frame.stub, guest.frame.rip) == (0x81, CODE + 2)


def test_the_old_system_call_needs_any_gate(guest: PvGuest) -> None:
    frame = guest.run_program(INT_80)
    assert (frame.stub, frame.rip) == (0x80, USER_CODE + 2)
    frame = guest.run_program(INT_80, traps={13: guest.gate(13)})
    assert (frame.stub, frame.error_code, frame.rip) == (13, 0x80 * 8 + 2, USER_CODE)


def test_int_through_a_gate_returns_behind_itself(guest: PvGuest) -> None:
    frame = guest.run_program(INT_80, traps={0x80: guest.gate(0x80, dpl=3)})
    assert (frame.stub, frame.error_code, frame.rip) == (0x80, None, USER_CODE + 2)


def test_int_of_an_exceptions_number_is_not_that_exception(guest: PvGuest) -> None:
    frame = guest.run_program(b"\xcd\x0e")
    assert (frame.stub, frame.error_code) == (13, 14 * 8 + 2)


def test_breakpoints_are_for_everybody(guest: PvGuest) -> None:
    frame = guest.run_program(asm.INT3)
    assert (frame.stub, frame.rip) == (3, USER_CODE + 1)


def test_single_steps_trap_after_each_instruction(guest: PvGuest) -> None:
    frame = guest.run_program(asm.NOP + asm.NOP, rflags=IF | TF)
    assert (frame.stub, frame.rip) == (1, USER_CODE + 1)
    assert frame.rflags & TF
    assert not guest.registers.rflags & TF


def test_many_faults_in_a_row_are_just_that(guest: PvGuest) -> None:
    for _ in range(4):
        assert guest.run_program(asm.mov("rax", 0x1234) + b"\x8a\x08").stub == 14
        assert guest.run_program(DIVIDE_BY_ZERO).stub == 0


def test_events_are_delivered_when_a_hypercall_returns(guest: PvGuest) -> None:
    def raise_event() -> None:
        guest.info[PENDING], guest.info[MASK] = 1, 0

    guest.on_call = raise_event
    guest.run(HYPERCALL)
    assert guest.frame.stub == EVENT
    assert guest.frame.rip == CODE + len(HYPERCALL)
    assert (guest.frame.saved_mask, guest.info[MASK]) == (0, 1)


def test_events_are_delivered_when_a_vcpu_goes_on(guest: PvGuest) -> None:
    guest.info[PENDING], guest.info[MASK] = 1, 0
    frame = guest.run_program(asm.NOP)
    assert (frame.stub, frame.rip, frame.cs) == (EVENT, USER_CODE, FLAT_CS64)


def test_masked_events_wait(guest: PvGuest) -> None:
    guest.info[PENDING] = 1
    guest.run(HYPERCALL)
    assert not guest.frames


def test_an_nmi_comes_once_until_the_kernel_has_returned(guest: PvGuest) -> None:
    guest.start(b"", asm.INT3, rip=USER_CODE, rsp=USER_STACK, in_kernel=False)
    seen: list[int] = []

    def return_from_nmi() -> None:
        seen.append(guest.frame.stub)
        if len(seen) == 1:
            # One that comes meanwhile waits for the iret of this one.
            guest.vcpu.inject_nmi()
            frame = guest.iret_frame(USER_CODE, FLAT_CS64)
            guest.write(guest.registers.rsp, frame)
            guest.registers.rax = 23
            guest.vcpu.repeat_hypercall()
        else:
            guest.engine.stop()

    guest.on_frame = return_from_nmi
    guest.vcpu.inject_nmi()
    guest.go_on()
    assert seen == [NMI, NMI]


def test_iret_returns_to_a_program_with_all_its_registers(guest: PvGuest) -> None:
    back = guest.iret_frame(USER_CODE, FLAT_CS64, rax=1, r11=2, rcx=3, rflags=IF | CF)
    guest.iret(back, asm.SYSCALL)
    frame = guest.frame
    assert (frame.rip, frame.cs, frame.rsp) == (USER_CODE + 2, FLAT_CS64, USER_STACK)
    assert frame.r11 & CF
    assert guest.registers.rax == 1
    assert guest.info[MASK] == 0


def test_iret_restores_what_sysret_would_not(guest: PvGuest) -> None:
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS64, r11=2, rcx=3), asm.INT3)
    assert (guest.frame.rcx, guest.frame.r11) == (3, 2)


def test_iret_after_a_system_call_has_rip_and_flags_in_registers(guest: PvGuest) -> None:
    back = guest.iret_frame(USER_CODE, FLAT_CS64, r11=2, rcx=3, flags=0x100)
    guest.iret(back, asm.INT3)
    assert guest.frame.rcx == USER_CODE
    assert guest.frame.r11 & IF


def test_iret_with_interrupts_off_masks_events(guest: PvGuest) -> None:
    guest.info[MASK] = 0
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS64, rflags=2), asm.INT3)
    assert guest.frame.saved_mask == 1


def test_iret_to_the_kernel_stays_in_it(guest: PvGuest) -> None:
    target = CODE + 0x80
    guest.iret(
        guest.iret_frame(target, FLAT_CS64 & ~3, rsp=STACK - 0x100),
        code=b"",
    )
    assert guest.frame.rip >= target
    assert guest.frame.cs & 3 == 0


def test_iret_to_a_segment_that_is_none_is_the_programs_fault(guest: PvGuest) -> None:
    guest.iret(guest.iret_frame(USER_CODE, 0xFB), asm.NOP)
    assert (guest.frame.stub, guest.frame.error_code) == (13, 0xF8)
    assert guest.frame.rip == USER_CODE


def test_segments_of_the_guests_own_table_can_be_returned_to(guest: PvGuest) -> None:
    guest.iret(guest.iret_frame(USER_CODE, 0x13, ss=0x1B), asm.INT3)
    assert (guest.frame.cs, guest.frame.ss) == (0x13, 0x1B)


def test_32_bit_programs_make_system_calls_of_their_own(guest: PvGuest) -> None:
    guest.iret(guest.iret_frame(USER_CODE, 0x23, ss=0x1B), b"\x90" + asm.SYSCALL)
    assert guest.frame.stub == SYSCALL32_ENTRY
    assert (guest.frame.rip, guest.frame.cs) == (USER_CODE + 3, FLAT_CS32)


def test_a_32_bit_program_runs_32_bit_instructions(guest: PvGuest) -> None:
    # inc eax is a prefix in 64-bit code.
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS32, rax=5), b"\x40\x40\xcc")
    assert guest.frame.stub == 3
    assert guest.registers.rax == 7


def test_bases_of_gs_change_with_the_mode(guest: PvGuest) -> None:
    read_gs = b"\x65\x48\x8b\x1c\x25\x00\x00\x00\x00"
    guest.write64(KERNEL_BASE + 33 * 4096, 0x1111)
    guest.write64(KERNEL_BASE + 37 * 4096, 0x2222)
    state: dict[str, Any] = {"gs_base_kernel": KERNEL_BASE + 33 * 4096, "gs_base_user": USER_DATA}
    guest.run(read_gs + HYPERCALL, **state)
    assert guest.registers.rbx == 0x1111
    guest.run_program(read_gs + asm.SYSCALL, **state)
    assert guest.registers.rbx == 0x2222
    assert guest.vcpu.gs_base_kernel == KERNEL_BASE + 33 * 4096
    assert guest.vcpu.gs_base_user == USER_DATA


@pytest.mark.parametrize("stack", [0, 0xFFFF_8000_0000_1000, 0x8000_0000_0000, 0x1000])
def test_a_kernel_without_a_stack_crashes(guest: PvGuest, stack: int) -> None:
    guest.start(b"", asm.INT3, rip=USER_CODE, rsp=USER_STACK, in_kernel=False, kernel_stack=stack)
    guest.go_on()
    assert guest.crashes and "stack" in guest.crashes[0]


def test_a_trap_without_a_handler_crashes(guest: PvGuest) -> None:
    guest.run(DIVIDE_BY_ZERO, traps={})
    assert guest.crashes and "handler" in guest.crashes[0]


def test_iret_from_nowhere_crashes(guest: PvGuest) -> None:
    guest.run(asm.mov("rax", 23) + asm.SYSCALL, rsp=0x1234)
    assert guest.crashes and "iret" in guest.crashes[0]


def test_iret_by_what_only_xen_has_mapped_crashes(guest: PvGuest) -> None:
    frame = guest.iret_frame(CODE, FLAT_CS64 & ~3, rsp=STACK)
    guest.engine.m2p[: len(frame) // 8] = memoryview(frame).cast("Q")
    guest.run(asm.mov("rax", 23) + asm.SYSCALL, rsp=guest.engine.m2p_start)
    assert guest.crashes and "iret" in guest.crashes[0]


def test_iret_to_a_program_without_page_tables_crashes(guest: PvGuest) -> None:
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS64), user_root=None)
    assert guest.crashes and "user page table" in guest.crashes[0]


def test_the_machine_to_physical_table_can_be_read_and_not_written(guest: PvGuest) -> None:
    guest.engine.m2p[5] = 0x55
    at = guest.engine.m2p_start + 8 * 5
    guest.run(asm.mov("rax", at) + b"\x48\x8b\x18" + HYPERCALL)
    assert guest.registers.rbx == 0x55
    guest.run(asm.mov("rax", at) + b"\x88\x08")
    assert guest.frame.stub == 14
    assert guest.engine.m2p[5] == 0x55


def test_the_guest_cannot_write_its_descriptors_where_xen_shows_them(guest: PvGuest) -> None:
    # sgdt [rsp-16]; mov rax, [rsp-14]; mov [rax], cl
    guest.run(b"\x0f\x01\x44\x24\xf0" + b"\x48\x8b\x44\x24\xf2" + b"\x88\x08")
    assert guest.frame.stub == 14


ENDLESS = 0xFFFF_9000_0000_0000
"""Half a TiB of addresses that all lead to one page."""


def map_endless(guest: PvGuest) -> None:
    level3, level2, level1, page = 50, 51, 52, 53
    for table, below in ((level3, level2), (level2, level1), (level1, page)):
        entry = (below << 12 | 0x67).to_bytes(8, "little")
        guest.memory.write(table << 12, entry * 512)
    at = (KERNEL_ROOT << 12) + 8 * (ENDLESS >> 39 & 511)
    guest.memory.write(at, (level3 << 12 | 0x67).to_bytes(8, "little"))


def test_a_kernel_that_faults_for_ever_can_be_stopped(guest: PvGuest) -> None:
    map_endless(guest)
    nowhere = TrapGate(GuestVirt(0x1234_5000))
    guest.start(asm.UD2, traps={6: nowhere, 14: nowhere}, rsp=ENDLESS + (1 << 38))
    ended = threading.Event()

    def run() -> None:
        guest.vcpu.run()
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    deadline = time.monotonic() + 10
    while not ended.wait(0.001) and time.monotonic() < deadline:
        guest.engine.kick()
    stopped = ended.is_set()
    if not stopped:
        guest.vcpu.state.traps[14].address = 0  # type: ignore[attr-defined]
    thread.join()
    assert stopped
