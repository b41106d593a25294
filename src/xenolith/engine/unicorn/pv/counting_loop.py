"""Finishes a loop that only counts, as far as it can be proven to go on as it does.

A PV kernel of Linux looks at each of the 134 million frame numbers that its list could ever have, one after the
other (xen_rebuild_p2m_list), before it knows of any that matters: a third of all instructions of its boot. Where
a run of the guest was interrupted in such a loop, the loop's next two rounds are done here. If they took the same
way, and changed every register by the same amount, then so do all further ones up to the first in which a branch
goes the other way, and that one can be computed.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.engine.unicorn.pv.counting_code import Comparison, follow
from xenolith.engine.unicorn.registers import UnicornRegisters

_WORTH_WHILE = 1000
"""Rounds that take the emulator some 20 us."""

_MASK64 = (1 << 64) - 1
_ENDLESS = 1 << 62


def finish_counting_loop(registers: UnicornRegisters, read_code: Callable[[int], bytes]) -> int:
    """Do as many rounds as are certain of the loop at RIP; how many. The last one is left to the processor.

    ``read_code`` gives the bytes at an address as far as they lie in one page, b"" where there are none.
    """
    start = tuple(registers.file[:16])
    first = follow(start, registers.rip, read_code)
    if first is None:
        return 0
    second = follow(first.registers, registers.rip, read_code)
    if second is None or second.way != first.way:
        return 0
    growth = _differences(start, first.registers)
    if _differences(first.registers, second.registers) != growth:
        return 0
    if not any(growth) or not first.comparisons:
        return 0
    alike = map(_rounds_alike, first.comparisons, second.comparisons)
    rounds = min(*alike, _ENDLESS, *map(_rounds_without_wrap, start, growth))
    if rounds < _WORTH_WHILE:
        return 0
    for number, (value, step) in enumerate(zip(start, growth, strict=True)):
        registers.file[number] = value + rounds * step & _MASK64
    return rounds


def _differences(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(new - old for old, new in zip(before, after, strict=True))


def _rounds_without_wrap(value: int, step: int) -> int:
    """For how many rounds a register stays a number of the width that it has now."""
    width = 32 if value < 1 << 32 else 64
    if step > 0:
        return ((1 << width) - 1 - value) // step
    if step < 0:
        return value // -step
    return _ENDLESS


def _rounds_alike(first: Comparison, second: Comparison) -> int:
    """In how many rounds from the first on a comparison comes out as it did there."""
    left, right = second.left - first.left, second.right - first.right
    rounds = _ENDLESS
    for value, step in ((first.left, left), (first.right, right)):
        if step > 0:
            rounds = min(rounds, (first.limit - 1 - value) // step + 1)
        elif step < 0:
            rounds = min(rounds, value // -step + 1)
    gap, closing = first.right - first.left, left - right
    if not closing:
        return rounds
    if not gap:
        # Equal now, and not in the next round.
        return 1
    if (gap > 0) == (closing > 0):
        # They meet or pass each other in this round, counted from 0.
        rounds = min(rounds, -(-abs(gap) // abs(closing)))
    return rounds
