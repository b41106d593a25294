"""The frequency of the host's time stamp counter, measured against CLOCK_MONOTONIC."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_MINIMUM_BASELINE_NS = 20_000_000


@dataclass(frozen=True)
class TscSample:
    """The counter and the clock at one moment."""

    tsc: int
    nanoseconds: int


def sample(read: Callable[[], int]) -> TscSample:
    """Read both, keeping the tightest of a few tries."""
    best: tuple[int, TscSample] | None = None
    for _ in range(5):
        before = time.monotonic_ns()
        tsc = read()
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = after - before, TscSample(tsc, (before + after) // 2)
    assert best is not None
    return best[1]


_first: TscSample | None = None


def frequency(read: Callable[[], int]) -> float:
    """Ticks a second since this process, or the one that it was forked from, first asked.

    The error is about 1 us over the time since then; a first call sleeps 20 ms to have a baseline.
    """
    global _first  # noqa: PLW0603 - one counter a machine, one baseline a process
    if _first is None:
        _first = sample(read)
    elapsed = time.monotonic_ns() - _first.nanoseconds
    if elapsed < _MINIMUM_BASELINE_NS:
        time.sleep((_MINIMUM_BASELINE_NS - elapsed) / 1e9)
    now = sample(read)
    return (now.tsc - _first.tsc) * 1e9 / (now.nanoseconds - _first.nanoseconds)
