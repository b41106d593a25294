"""PAUSE of a PV vCPU: whoever spins for another one is noticed, and only then."""

from __future__ import annotations

import threading

import assembler as asm
import pytest
from pv_guest import CALL, CODE, FLAT_CS64, FLAT_SS, INFO_FRAME, KERNEL_ROOT, STACK, PvGuest

from xenolith.engine.choice import EngineName
from xenolith.engine.pv import PvCpuState
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

PAUSE, NOP, INC_RBX = b"\xf3\x90", b"\x90", b"\x48\xff\xc3"
END = asm.mov("rax", CALL) + asm.SYSCALL


def guest_with(vcpus: int) -> PvGuest:
    guest = PvGuest(EngineName.UNICORN)
    for _ in range(vcpus - 1):
        guest.engine.new_vcpu(guest)
    return guest


@pytest.fixture
def pair() -> PvGuest:
    return guest_with(2)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_each_pause_is_told(pair: PvGuest, times: int) -> None:
    pair.run((PAUSE + INC_RBX) * times + NOP + END, general={"rbx": 0})
    assert pair.pauses == times
    assert pair.registers.general(3) == times
    pair.close()


def test_a_vcpu_that_is_alone_pauses_for_nobody() -> None:
    guest = guest_with(1)
    guest.run(PAUSE * 5 + END)
    assert guest.pauses == 0
    guest.close()


def test_the_guest_goes_on_behind_the_pause_at_which_it_was_stopped(pair: PvGuest) -> None:
    stopped = []

    def pause() -> None:
        stopped.append(pair.registers.rip)
        pair.engine.stop()

    pair.pause = pause  # type: ignore[method-assign]
    pair.start(NOP + PAUSE + INC_RBX + PAUSE + END, general={"rbx": 0})
    pair.vcpu.run()
    assert stopped == [CODE + 3]
    assert pair.registers.general(3) == 0
    pair.vcpu.run()
    assert stopped == [CODE + 3, CODE + 8]
    pair.go_on()
    assert (pair.calls, pair.registers.general(3)) == ([CALL], 1)
    pair.close()


def test_programs_pause_as_well(pair: PvGuest) -> None:
    pair.run_program(PAUSE * 2 + b"\xcc")
    assert pair.pauses == 2
    pair.close()


def test_being_kicked_is_no_pause(pair: PvGuest) -> None:
    """A kick interrupts the run in the same way."""
    pair.start(INC_RBX + b"\xeb\xfb", general={"rbx": 0})
    for _ in range(20):
        timer = threading.Timer(0.005, pair.engine.kick)
        timer.start()
        pair.vcpu.run()
        timer.join()
    assert pair.pauses == 0
    pair.close()


def test_a_handler_s_failure_ends_the_run(pair: PvGuest) -> None:
    def pause() -> None:
        raise RuntimeError("a bug of the hypervisor")

    pair.pause = pause  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a bug of the hypervisor"):
        pair.run(PAUSE + END)
    pair.close()


def test_machines_come_and_go() -> None:
    """Each has its own watch; closing one leaves the others theirs."""
    guests = [guest_with(2) for _ in range(3)]
    guests[1].close()
    for guest in (guests[2], guests[0]):
        guest.run(PAUSE + END)
        assert guest.pauses == 1
    guests[0].close()
    another = guest_with(2)
    another.run(PAUSE * 2 + END)
    assert (another.pauses, guests[2].pauses) == (2, 1)
    another.close()
    guests[2].close()


def test_the_second_vcpu_is_heard_as_well() -> None:
    guest = PvGuest(EngineName.UNICORN)
    second = guest.engine.new_vcpu(guest)
    second.use_info(INFO_FRAME << PAGE_SHIFT)
    guest.write(CODE, PAUSE * 4 + END)
    second.reset(
        PvCpuState(
            rip=GuestVirt(CODE),
            rsp=GuestVirt(STACK),
            cs=FLAT_CS64,
            ss=FLAT_SS,
            kernel_root=Mfn(KERNEL_ROOT),
        )
    )
    second.run()
    assert guest.pauses == 4
    guest.close()
