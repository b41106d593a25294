"""Guests that bring the processor where no sane kernel does: the engine comes back from all of it."""

from __future__ import annotations

from collections.abc import Iterator

import assembler as asm
import pytest
from engine_guest import Guest


@pytest.fixture(params=["plain", "filtered"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """One vCPU, with and without a nested page table."""
    guest = Guest()
    if request.param == "filtered":
        guest.hide_something()
    yield guest
    guest.close()


NO_IDT = asm.mov("rax", 0) + asm.store(0x6F00, "rax") + asm.lidt(0x6F00)


def test_an_interrupt_that_stays_pending_and_cannot_be_delivered_ends_the_run(guest: Guest) -> None:
    """As an event's upcall does, which is pending until the guest has seen it."""
    handler = guest.handler
    handler.vectors = [0x40]
    handler.vectors_stay = True
    guest.load(NO_IDT + asm.STI + asm.SPIN)
    guest.go_on()
    assert ("triple fault",) in handler.exits


def test_a_vcpu_can_start_over_after_a_triple_fault(guest: Guest) -> None:
    """Whatever the event was whose delivery ended so: it is not delivered to the new start."""
    handler = guest.run(NO_IDT + asm.UD2)
    assert handler.exits == [("triple fault",)]
    for _ in range(2):
        guest.run(asm.mov("rbx", 7))
        assert guest.registers.rbx == 7
    assert not handler.traps
