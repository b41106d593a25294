"""Measuring the frequency of a counter that is known."""

from __future__ import annotations

import time

import pytest

from xenolith.machine import tsc


@pytest.fixture(autouse=True)
def forget_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "_first", None)


@pytest.mark.parametrize("hertz", [1_000_000, 2_400_000_000, 6_000_000_000])
def test_the_frequency_of_a_perfect_counter(hertz: int) -> None:
    measured = tsc.frequency(lambda: time.monotonic_ns() * hertz // 1_000_000_000)
    assert measured == pytest.approx(hertz, rel=1e-3)


def test_a_longer_baseline_is_more_exact() -> None:
    def read() -> int:
        return time.monotonic_ns() * 3

    tsc.frequency(read)
    time.sleep(0.1)
    assert tsc.frequency(read) == pytest.approx(3e9, rel=1e-4)


def test_a_host_that_was_suspended_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stood still meanwhile, and the counter did not."""
    slept = [0]
    boottime = time.clock_gettime_ns
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: boottime(clock) + slept[0])

    def read() -> int:
        return time.monotonic_ns() * 2 + slept[0] * 2

    tsc.frequency(read)
    slept[0] = 3600 * 10**9
    assert tsc.frequency(read) == pytest.approx(2e9, rel=1e-3)


def test_a_sample_is_of_one_moment() -> None:
    before = time.monotonic_ns()
    sample = tsc.sample(time.monotonic_ns)
    after = time.monotonic_ns()
    assert before <= sample.nanoseconds <= after
    assert abs(sample.tsc - sample.nanoseconds) < 1_000_000
