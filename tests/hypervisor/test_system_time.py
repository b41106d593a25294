"""A domain's clock: as exact as the guest's, for every frequency a TSC may have."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.abi.xen import VCPU_INFO, VCPU_TIME_INFO, VcpuTimeInfo
from xenolith.hypervisor.system_time import SystemTime, _scale
from xenolith.machine import tsc

DAY_NS = 86_400 * 10**9
MASK64 = (1 << 64) - 1


@pytest.fixture(autouse=True)
def forget_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters here are not the host's."""
    monkeypatch.setattr(tsc, "_first", None)


class Counter:
    """A time stamp counter of a known frequency, by hand."""

    def __init__(self, hertz: int, start: int = 0) -> None:
        self.hertz = hertz
        self.ticks = start

    def read(self) -> int:
        return self.ticks


def clock_of(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> SystemTime:
    monkeypatch.setattr(tsc, "frequency", lambda _read: float(counter.hertz))
    return SystemTime(counter.read)


def guest_time(info: VcpuTimeInfo, ticks: int) -> int:
    """As Linux's pvclock_scale_delta() computes it: 64-bit shifts, a 96-bit product."""
    delta = ticks - info.tsc_timestamp & MASK64
    shift = info.tsc_shift
    delta = delta >> -shift if shift < 0 else delta << shift & MASK64
    return info.system_time + (delta * info.tsc_to_system_mul >> 32)


@given(st.integers(1_000_000, 6_000_000_000))
def test_the_scale_is_exact_to_a_ppb_and_fits_its_fields(hertz: int) -> None:
    multiplier, shift = _scale(hertz)
    assert 1 << 31 <= multiplier < 1 << 32
    assert -32 < shift < 32
    scale = Fraction(multiplier, 1 << 32) * (Fraction(2) ** shift)
    assert abs(scale * hertz / 10**9 - 1) < Fraction(1, 10**9)


@settings(max_examples=60)
@given(st.integers(1_000_000, 6_000_000_000), st.integers(0, 400))
def test_hypervisor_and_guest_agree_and_are_right_for_a_year(hertz: int, days: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        counter = Counter(hertz, start=123_456_789)
        clock = clock_of(counter, patch)
    counter.ticks += days * 86_400 * hertz
    info = VCPU_TIME_INFO.unpack(clock.time_info())
    assert guest_time(info, counter.ticks) == clock.now()
    assert abs(clock.now() - days * DAY_NS) <= days * DAY_NS // 10**6


@pytest.mark.parametrize("hertz", [1_000_000, 999_999_999, 10**9, 2_399_999_123, 6_000_000_000])
def test_it_starts_at_zero_and_never_goes_back(hertz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(hertz, start=1 << 40)
    clock = clock_of(counter, monkeypatch)
    assert clock.now() == 0
    last = 0
    for step in range(2_000):
        counter.ticks += step % 7
        now = clock.now()
        assert now >= last
        last = now


def test_it_keeps_time_with_the_host() -> None:
    clock = SystemTime(time.perf_counter_ns)
    first, start = clock.now(), time.monotonic_ns()
    time.sleep(0.05)
    elapsed = clock.now() - first
    assert elapsed == pytest.approx(time.monotonic_ns() - start, rel=0.02)


def test_what_a_vcpu_is_shown_is_stable_and_never_in_the_middle_of_an_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = clock_of(Counter(2_000_000_000), monkeypatch)
    info = memoryview(bytearray(b"\xaa" * VCPU_INFO.size))
    clock.publish(info)
    offset = VCPU_INFO.offsets["time"]
    shown = bytes(info[offset : offset + VCPU_TIME_INFO.size])
    assert shown == clock.time_info()
    record = VCPU_TIME_INFO.unpack(shown)
    assert record.version % 2 == 0
    assert record.flags & 1
    assert bytes(info[:offset]) == b"\xaa" * offset


def test_the_wall_clock_s_origin_is_now() -> None:
    before = time.time_ns()
    clock = SystemTime(time.perf_counter_ns)
    assert before <= clock.wall_clock_origin_ns <= time.time_ns()
