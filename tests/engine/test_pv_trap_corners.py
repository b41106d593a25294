"""Traps of a PV guest that are rare: what is lost, what is mended, what has no gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import assembler as asm
import kvm_host
import pytest
from pv_guest import (
    CALL,
    CODE,
    FLAT_CS32,
    FLAT_SS,
    GDT_FRAME,
    INFO_FRAME,
    STACK,
    STUB_BYTES,
    STUBS,
    USER_CODE,
    USER_STACK,
    PvGuest,
)

from xenolith.engine.choice import EngineName
from xenolith.engine.pv import TrapGate
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

FAILSAFE, SYSENTER = 1, 5
FAILSAFE_ENTRY, SYSENTER_ENTRY = 300, 301
GENERAL_PROTECTION = 13
INTO, SYSENTER_CODE = b"\xce", b"\x0f\x34"
GOOD_SELECTOR = 0x1B
LOCAL_SELECTOR = GOOD_SELECTOR | 4
BAD_SELECTOR = 0x1003
"""Beyond what the guest has in its descriptor table."""
HYPERCALL = asm.mov("rax", CALL) + asm.SYSCALL


@pytest.fixture(params=[EngineName.UNICORN, EngineName.KVM])
def guest(request: pytest.FixtureRequest) -> Iterator[PvGuest]:
    if request.param is EngineName.KVM:
        kvm_host.device()
    made = PvGuest(request.param)
    yield made
    made.close()


def callback(kind: int, stub: int) -> dict[int, TrapGate]:
    return {kind: TrapGate(GuestVirt(STUBS + stub * STUB_BYTES))}


def test_an_nmi_without_a_handler_is_lost(guest: PvGuest) -> None:
    program: dict[str, Any] = {"rip": USER_CODE, "rsp": USER_STACK, "in_kernel": False}
    guest.start(b"", asm.INT3, traps={3: guest.gate(3)}, **program)
    guest.vcpu.inject_nmi()
    guest.go_on()
    assert not guest.crashes
    assert guest.frame.stub == 3


def failsafe_frame(guest: PvGuest) -> list[int]:
    """DS, ES, FS, GS, RIP and CS of the frame on the kernel's stack."""
    assert guest.frame.stub == FAILSAFE_ENTRY
    return [guest.read64(guest.frame.at + 8 * index) for index in range(2, 8)]


@pytest.mark.parametrize("in_kernel", [False, True])
def test_bad_selectors_of_data_segments_are_the_kernels_to_mend(
    guest: PvGuest, in_kernel: bool
) -> None:
    rip, rsp = (CODE, STACK) if in_kernel else (USER_CODE, USER_STACK)
    guest.start(
        asm.INT3,
        asm.INT3,
        callbacks=callback(FAILSAFE, FAILSAFE_ENTRY),
        ds=GOOD_SELECTOR,
        es=BAD_SELECTOR,
        in_kernel=in_kernel,
        rip=rip,
        rsp=rsp,
    )
    guest.go_on()
    *selectors, seen_rip, cs = failsafe_frame(guest)
    assert selectors == [GOOD_SELECTOR, BAD_SELECTOR, 0, 0]
    assert seen_rip == rip
    assert cs & 3 == (0 if in_kernel else 3)


def test_a_vcpu_starts_with_a_segment_of_its_local_table(guest: PvGuest) -> None:
    guest.start(HYPERCALL, ds=LOCAL_SELECTOR, callbacks=callback(FAILSAFE, FAILSAFE_ENTRY))
    guest.vcpu.set_ldt([Mfn(GDT_FRAME)], 512)
    guest.go_on()
    assert guest.calls == [CALL]


def test_a_vcpu_that_starts_over_has_no_local_table(guest: PvGuest) -> None:
    guest.start(HYPERCALL)
    guest.vcpu.set_ldt([Mfn(GDT_FRAME)], 512)
    guest.go_on()
    guest.run(HYPERCALL, ds=LOCAL_SELECTOR, callbacks=callback(FAILSAFE, FAILSAFE_ENTRY))
    assert failsafe_frame(guest)[0] == LOCAL_SELECTOR


def test_selectors_are_looked_at_when_a_vcpu_goes_on_after_another(guest: PvGuest) -> None:
    state: dict[str, Any] = {"ds": GOOD_SELECTOR, "callbacks": callback(FAILSAFE, FAILSAFE_ENTRY)}
    guest.start(2 * HYPERCALL, **state)
    first, other = guest.vcpu, guest.engine.new_vcpu(guest)
    guest.go_on()
    other.use_info(INFO_FRAME << PAGE_SHIFT)
    guest.vcpu = other
    guest.run(2 * HYPERCALL)
    descriptor = (GDT_FRAME << PAGE_SHIFT) + (GOOD_SELECTOR & ~7)
    guest.memory.write(descriptor, bytes(8))
    guest.vcpu = first
    guest.go_on()
    assert failsafe_frame(guest)[:2] == [GOOD_SELECTOR, 0]


def run_32_bit(guest: PvGuest, code: bytes, **state: Any) -> None:
    guest.iret(guest.iret_frame(USER_CODE, FLAT_CS32), b"\x90" + code, **state)


def test_sysenter_has_a_callback_of_its_own(guest: PvGuest) -> None:
    run_32_bit(guest, SYSENTER_CODE, callbacks=callback(SYSENTER, SYSENTER_ENTRY))
    frame = guest.frame
    assert frame.stub == SYSENTER_ENTRY
    assert (frame.rip, frame.cs, frame.rsp, frame.ss) == (0, 3, 0, FLAT_SS)


def test_sysenter_without_a_callback_is_a_general_protection_fault(guest: PvGuest) -> None:
    run_32_bit(guest, SYSENTER_CODE)
    assert (guest.frame.stub, guest.frame.rip) == (GENERAL_PROTECTION, USER_CODE + 1)


def test_overflow_is_for_everybody(guest: PvGuest) -> None:
    # mov al, 0x7f; add al, 1; into
    run_32_bit(guest, b"\xb0\x7f\x04\x01" + INTO)
    assert (guest.frame.stub, guest.frame.rip) == (4, USER_CODE + 6)
