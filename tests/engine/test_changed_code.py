"""Guests that write code, run it and write it anew, in pages that hold data and code alike."""

from __future__ import annotations

import random
from collections.abc import Iterator

import assembler as asm
import pytest
from engine_guest import CODE, CODE_BYTES, DATA, Guest, page_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.machine.address import PAGE_SIZE

PAGES = (DATA, DATA + PAGE_SIZE, DATA + 16 * PAGE_SIZE)
SLOTS = tuple(page + 32 * number for page in PAGES for number in (0, 1, 64, 127))
"""Where there may be a function, or a word of data behind it."""

RESULTS = DATA + 8 * PAGE_SIZE
RETURN = b"\xc3"
CALL_RAX = b"\xff\xd0"
MOV_RBX = b"\x48\xbb"
RELOAD_CR3 = b"\x0f\x20\xd8\x0f\x22\xd8"


@pytest.fixture(params=["plain", "filtered"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """One vCPU, with and without a nested page table."""
    guest = Guest()
    if request.param == "filtered":
        guest.hide_something()
    yield guest
    guest.close()


def function(value: int) -> bytes:
    """Returns ``value`` in RBX."""
    return MOV_RBX + value.to_bytes(8, "little") + RETURN


class Model:
    """What the functions and the data are after each step."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(SLOTS, 0)
        self.results: list[int] = []
        self.code = b""

    def change(self, slot: int, value: int) -> None:
        self.values[slot] = value
        self.code += asm.mov("rcx", value) + asm.store(slot + len(MOV_RBX), "rcx")

    def write_data(self, slot: int, value: int) -> None:
        self.code += asm.mov("rcx", value) + asm.store(slot + 16, "rcx")
        self.code += asm.load("rbx", slot + 16)
        self._keep(value)

    def call(self, slot: int) -> None:
        self.code += asm.mov("rax", slot) + CALL_RAX
        self._keep(self.values[slot])

    def flush(self) -> None:
        self.code += RELOAD_CR3

    def _keep(self, value: int) -> None:
        self.code += asm.store(RESULTS + 8 * len(self.results), "rbx")
        self.results.append(value)


def check(guest: Guest, model: Model) -> None:
    assert len(model.code) < CODE_BYTES
    for slot in SLOTS:
        guest.memory.write(slot, function(0))
    for page in PAGES:
        guest.engine.invalidate_code(page_of(page), 1)
    guest.run(model.code)
    assert not guest.handler.traps
    results = [guest.read64(RESULTS + 8 * number) for number in range(len(model.results))]
    assert results == model.results


def test_what_is_executed_is_what_was_written_last(guest: Guest) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        model = Model()
        for _ in range(150):
            slot = rng.choice(SLOTS)
            match rng.randrange(8):
                case 0 | 1:
                    model.change(slot, rng.getrandbits(64))
                case 2:
                    model.write_data(slot, rng.getrandbits(64))
                case 3:
                    model.flush()
                case _:
                    model.call(slot)
        check(guest, model)


STEPS = st.lists(
    st.tuples(st.sampled_from(["change", "write_data", "call", "flush"]), st.sampled_from(SLOTS)),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=60)
def test_every_order_of_steps(steps: list[tuple[str, int]]) -> None:
    guest = Guest()
    try:
        model = Model()
        for number, (step, slot) in enumerate(steps):
            if step == "flush":
                model.flush()
            elif step == "call":
                model.call(slot)
            else:
                getattr(model, step)(slot, number + 1)
        check(guest, model)
    finally:
        guest.close()


def test_code_may_change_what_follows_it(guest: Guest) -> None:
    """The next instructions are others than when they were translated, together with the store."""
    skip = asm.mov("rbx", 2)
    jump = (b"\xeb" + bytes([6 + len(skip)])).ljust(8, asm.NOP)
    begin = asm.mov("rbx", 1) + asm.mov("rcx", int.from_bytes(jump, "little"))
    place = CODE + 64
    begin += asm.store(place, "rcx")
    guest.run(begin.ljust(64, asm.NOP) + asm.NOP * 8 + skip)
    assert guest.registers.rbx == 1
