"""The frequency of the host's time stamp counter, measured against CLOCK_MONOTONIC."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_MINIMUM_BASELINE_NS = 20_000_000
_SUSPENDED_NS = 10_000_000
"""Less than any sleep of the host, more than what may pass between reading two clocks."""


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


_first: tuple[TscSample, int] | None = None


def frequency(read: Callable[[], int]) -> float:
    """Ticks a second since this process, or the one that it was forked from, first asked.

    The error is about 1 us over the time since then; a first call sleeps 20 ms to have a baseline, and so does one
    after the host was suspended, which stops the clock and may stop or reset the counter.
    """
    global _first  # noqa: PLW0603 - one counter a machine, one baseline a process
    suspended = _suspended_ns()
    if _first is None or abs(suspended - _first[1]) > _SUSPENDED_NS:
        _first = sample(read), suspended
    baseline = _first[0]
    elapsed = time.monotonic_ns() - baseline.nanoseconds
    if elapsed < _MINIMUM_BASELINE_NS:
        time.sleep((_MINIMUM_BASELINE_NS - elapsed) / 1e9)
    now = sample(read)
    return (now.tsc - baseline.tsc) * 1e9 / (now.nanoseconds - baseline.nanoseconds)


def _suspended_ns() -> int:
    """How long the host has slept since it was started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
