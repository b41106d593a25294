"""Code that is written at one address and run at another: both are the same page."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import assembler as asm
import pytest
from pv_guest import (
    CALL,
    KERNEL_BASE,
    USER_BASE,
    USER_FRAME,
    PvGuest,
)

from xenolith.machine.address import PAGE_SIZE, Mfn

FRAMES = (USER_FRAME + 5, USER_FRAME + 6)
RESULTS = USER_BASE + 7 * PAGE_SIZE
SLOTS = (0, 0x100, 0x800)
MOV_RBX, RETURN, CALL_RAX = b"\x48\xbb", b"\xc3", b"\xff\xd0"
HYPERCALL = asm.mov("rax", CALL) + asm.SYSCALL
MOST_STEPS = 60


@pytest.fixture
def guest() -> Iterator[PvGuest]:
    made = PvGuest()
    yield made
    made.close()


def low(frame: int) -> int:
    return USER_BASE + (frame - USER_FRAME) * PAGE_SIZE


def high(frame: int) -> int:
    return KERNEL_BASE + frame * PAGE_SIZE


def function(value: int) -> bytes:
    """Returns ``value`` in RBX."""
    return MOV_RBX + value.to_bytes(8, "little") + RETURN


class Model:
    """What the functions return after each step."""

    def __init__(self) -> None:
        self.values = {(frame, slot): 0 for frame in FRAMES for slot in SLOTS}
        self.results: list[int] = []
        self.code = b""

    def change(self, frame: int, slot: int, base: int, value: int) -> None:
        self.values[frame, slot] = value
        # mov rdx, address; mov rcx, value; mov [rdx], rcx
        self.code += asm.mov("rdx", base + slot + len(MOV_RBX)) + asm.mov("rcx", value)
        self.code += b"\x48\x89\x0a"

    def call(self, frame: int, slot: int, base: int) -> None:
        self.code += asm.mov("rax", base + slot) + CALL_RAX
        self.code += asm.store(RESULTS + 8 * len(self.results), "rbx")
        self.results.append(self.values[frame, slot])


def check(guest: PvGuest, model: Model) -> None:
    for frame in FRAMES:
        for slot in SLOTS:
            guest.memory.write((frame << 12) + slot, function(0))
    guest.engine.invalidate_code(Mfn(USER_FRAME), 8)
    guest.run(model.code + HYPERCALL)
    assert not guest.frames
    seen = [guest.read64(high(USER_FRAME + 7) + 8 * n) for n in range(len(model.results))]
    assert seen == model.results


@pytest.mark.parametrize("written, run", [(low, high), (high, low)])
def test_a_store_elsewhere_changes_code_that_has_run(
    guest: PvGuest, written: Callable[[int], int], run: Callable[[int], int]
) -> None:
    model = Model()
    for value in (1, 2, 3):
        model.change(FRAMES[0], 0, written(FRAMES[0]), value)
        model.call(FRAMES[0], 0, run(FRAMES[0]))
    check(guest, model)


@pytest.mark.parametrize("seed", range(12))
def test_every_order_of_steps(guest: PvGuest, seed: int) -> None:
    rng = random.Random(seed)
    model = Model()
    for number in range(MOST_STEPS):
        frame, slot = rng.choice(FRAMES), rng.choice(SLOTS)
        base = rng.choice([low, high])(frame)
        if rng.randrange(2):
            model.change(frame, slot, base, number + 1)
        else:
            model.call(frame, slot, base)
    check(guest, model)
