"""Loops that only count, finished by hand and by the processor."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import assembler as asm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pv_guest import CALL, CODE, PvGuest

from xenolith.engine.unicorn.pv.counting_loop import finish_counting_loop

END = asm.mov("r15", CALL) + asm.SYSCALL
NAMES = ("rcx", "rdx", "rbx", "rsi", "rdi", "r8")
NUMBERS = {name: asm.number(name) for name in NAMES}
MASK = (1 << 64) - 1


def rex(wide: bool, reg: int = 0, rm: int = 0) -> bytes:
    value = 0x40 | wide << 3 | reg >> 3 << 2 | rm >> 3
    return bytes([value]) if value != 0x40 else b""


def two(opcode: int, wide: bool, reg: int, rm: int) -> bytes:
    return rex(wide, reg, rm) + bytes([opcode, 0xC0 | (reg & 7) << 3 | rm & 7])


def one(opcode: int, extension: int, wide: bool, rm: int, tail: bytes = b"") -> bytes:
    return rex(wide, 0, rm) + bytes([opcode, 0xC0 | extension << 3 | rm & 7]) + tail


def back(condition: int, size: int) -> bytes:
    """jcc to ``size`` bytes before itself"""
    return bytes([0x0F, 0x80 | condition]) + (-size - 6).to_bytes(4, "little", signed=True)


registers = st.sampled_from(NAMES).map(lambda name: NUMBERS[name])
wide = st.booleans()
small = st.integers(-3, 7)
steps = st.one_of(
    st.builds(lambda w, r: one(0xFF, 0, w, r), wide, registers),
    st.builds(lambda w, r: one(0xFF, 1, w, r), wide, registers),
    st.builds(
        lambda w, r, n: one(0x83, 0, w, r, n.to_bytes(1, "little", signed=True)),
        wide,
        registers,
        small,
    ),
    st.builds(
        lambda w, r, n: one(0x83, 5, w, r, n.to_bytes(1, "little", signed=True)),
        wide,
        registers,
        small,
    ),
    st.builds(lambda r: two(0x31, False, r, r), registers),
    st.builds(
        lambda r, n: rex(False, 0, r) + bytes([0xB8 | r & 7]) + n.to_bytes(4, "little"),
        registers,
        st.integers(0, 9),
    ),
    st.builds(lambda w, a, b: two(0x89, w, a, b), wide, registers, registers),
    st.just(b"\xeb\x00"),
)
comparisons = st.one_of(
    st.builds(lambda w, a, b: two(0x39, w, a, b), wide, registers, registers),
    st.builds(lambda w, a, b: two(0x3B, w, a, b), wide, registers, registers),
    st.builds(
        lambda w, r, n: one(0x83, 7, w, r, n.to_bytes(1, "little", signed=True)),
        wide,
        registers,
        small,
    ),
)
conditions = st.sampled_from([2, 3, 4, 5, 6, 7])
skips = st.builds(
    lambda compared, condition: compared + bytes([0x70 | condition, 2, 0xEB, 0]),
    comparisons,
    conditions,
)
"""cmp; jcc 1f; jmp 1f; 1: so both ways lead on."""
values = st.one_of(
    st.integers(0, 40_000),
    st.integers((1 << 32) - 30_000, (1 << 32) + 100),
    st.integers(MASK - 20_000, MASK),
)


@pytest.fixture(scope="module")
def guest() -> Iterator[PvGuest]:
    made = PvGuest()
    made.engine._starting_slices = 0  # type: ignore[attr-defined]
    yield made
    made.close()


@given(
    st.lists(steps | skips, min_size=1, max_size=6),
    comparisons,
    conditions,
    st.lists(values, min_size=6, max_size=6),
)
@settings(max_examples=200)
def test_both_come_to_the_same_end(
    guest: PvGuest, body: list[bytes], compared: bytes, condition: int, given_values: list[int]
) -> None:
    loop = b"".join(body) + compared
    code = loop + back(condition, len(loop))
    file = [0] * 17
    for number, value in zip(NUMBERS.values(), given_values, strict=True):
        file[number] = value
    rounds, expected = interpreted(guest, code, file)
    if expected is None:
        return
    fake: Any = SimpleNamespace(file=list(file), rip=CODE)
    skipped = finish_counting_loop(
        fake, lambda at: (code + END)[at - CODE : at - CODE + 16].ljust(8, b"\0")
    )
    assert skipped < max(rounds, 1)
    if skipped:
        assert interpreted(guest, code, fake.file)[1] == expected


def interpreted(guest: PvGuest, code: bytes, file: list[int]) -> tuple[int, list[int] | None]:
    """How many rounds the processor takes, and its registers then; None if it takes too many."""
    count_rounds = b"\x49\xff\xc6"
    limit = b"\x49\x81\xfe" + (100_000).to_bytes(4, "little")
    loop = code[:-6]
    # The loop, with r14 as a counter of its rounds that ends it, too.
    body = count_rounds + limit + bytes([0x73, len(loop) + 6]) + loop
    body += back(code[-5] & 15, len(body))
    guest.calls.clear()
    general = {name: file[number] for name, number in NUMBERS.items()}
    guest.run(body + END, general=general)
    rounds = guest.registers.general(14)
    if rounds >= 100_000:
        return rounds, None
    return rounds, [guest.registers.general(number) for number in NUMBERS.values()]


COUNT_TO_RBX = b"\xff\xc2" + b"\x48\xff\xc7" + b"\x39\xda" + b"\x75\xf7"
"""1: inc edx; inc rdi; cmp edx, ebx; jne 1b"""


def finish(code: bytes, **general: int) -> tuple[int, list[int]]:
    file = [0] * 17
    for name, value in general.items():
        file[asm.number(name)] = value
    fake: Any = SimpleNamespace(file=file, rip=CODE)
    done = finish_counting_loop(fake, lambda at: code[at - CODE : at - CODE + 16].ljust(8, b"\x90"))
    return done, file


def test_all_rounds_but_the_last_are_done() -> None:
    done, file = finish(COUNT_TO_RBX, rdi=5, rbx=1_000_000)
    assert done == 1_000_000 - 1
    assert file[asm.number("rdx")] == done
    assert file[asm.number("rdi")] == 5 + done


def test_numbers_of_32_bits_do_not_wrap_unseen() -> None:
    done, file = finish(COUNT_TO_RBX, rdx=0xFFFF_0000, rbx=5)
    assert done <= 0xFFFF
    assert file[asm.number("rdx")] <= 0xFFFF_FFFF


@pytest.mark.parametrize(
    "code",
    [
        b"\x48\x8b\x07" + COUNT_TO_RBX,
        b"\x48\x89\x07" + COUNT_TO_RBX,
        b"\x0f\xa2" + COUNT_TO_RBX,
        b"\x75\x00" + COUNT_TO_RBX,
        b"\xff\xc2\x75\xfc",
        b"\xeb\xfe",
        b"\x39\xda\x75\xfc",
    ],
    ids=["loads", "stores", "other", "flags from before", "flags of inc", "spins", "never changes"],
)
def test_other_loops_are_left_alone(code: bytes) -> None:
    done, _ = finish(
        code[:-1] + bytes([256 - len(code)]) if code[-2] == 0x75 else code, rbx=1_000_000
    )
    assert done == 0


def test_a_starting_kernel_gets_out_of_such_loops_soon() -> None:
    made = PvGuest()
    outer = (
        b"\x31\xd2" + COUNT_TO_RBX + b"\xff\xc9" + b"\x75" + bytes([256 - len(COUNT_TO_RBX) - 6])
    )
    made.start(outer + END, general={"rbx": 0x7FFF_FFFF, "rcx": 200})
    made.go_on()
    # 400 thousand million rounds.
    assert made.registers.rdi == 200 * 0x7FFF_FFFF & MASK
    made.close()
