"""Caps by a clock that the test turns, and the scheduler under a throttle that the test decides for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_domain import DATA, SmallDomain, count_at, wait_until

from xenolith.hypervisor.throttle import Cap, Throttle, Together

PERIOD = 1000


class Host:
    """A CPU that runs nothing but what the test wants."""

    def __init__(self) -> None:
        self.now = 0
        self.used = 0

    def cpu_time(self) -> int:
        return self.used

    def spin(self, throttle: Throttle, until: int, late: int = 0, overrun: int = 0) -> None:
        """Use all the time that the throttle allows; wake up ``late``, and stop late by ``overrun``."""
        while self.now < until:
            parked = throttle.park(self.now)
            if parked:
                self.now += parked + late
            else:
                ran = throttle.stretch() + overrun
                self.now += ran
                self.used += ran


@pytest.mark.parametrize("percent", [1, 10, 50, 99, 100])
def test_a_cap_is_kept(percent: int) -> None:
    host = Host()
    host.spin(Cap(percent, host.cpu_time, PERIOD), 200 * PERIOD)
    assert host.used / host.now == pytest.approx(percent / 100, rel=0.03)


def test_a_late_wake_up_is_made_up_for() -> None:
    host = Host()
    host.spin(Cap(50, host.cpu_time, PERIOD), 200 * PERIOD, late=PERIOD // 4)
    assert host.used / host.now == pytest.approx(0.5, rel=0.03)


def test_what_is_used_beyond_the_stretch_is_paid_back() -> None:
    host = Host()
    host.spin(Cap(20, host.cpu_time, PERIOD), 200 * PERIOD, overrun=PERIOD)
    assert host.used / host.now == pytest.approx(0.2, rel=0.05)


@given(st.integers(1, 100), st.integers(0, 10**6))
def test_rest_earns_no_more_than_two_periods(percent: int, rest: int) -> None:
    host = Host()
    cap = Cap(percent, host.cpu_time, PERIOD)
    assert cap.park(0) == 0
    host.now = rest
    assert cap.park(rest) == 0
    assert cap.stretch() <= 2 * PERIOD * percent / 100


def test_of_several_throttles_the_strictest_counts() -> None:
    host = Host()
    caps = [Cap(percent, host.cpu_time, PERIOD) for percent in (80, 30, 50)]
    host.spin(Together(caps), 200 * PERIOD)
    assert host.used / host.now == pytest.approx(0.3, rel=0.03)


@pytest.fixture
def alone() -> Iterator[SmallDomain]:
    domain = SmallDomain(vcpus=1)
    yield domain
    domain.close()


class Gate:
    """Parks for ever once it is closed."""

    closed = False
    asked = 0

    def park(self, _now: int) -> int:
        self.asked += 1
        return 3600 * 10**9 if self.closed else 0

    def stretch(self) -> int:
        return 1_000_000


def test_a_parked_domain_stands_still_and_serves_posts_and_timers(alone: SmallDomain) -> None:
    alone.start(0, count_at(DATA))
    scheduler, clock = alone.domain.scheduler, alone.domain.clock
    gate = Gate()
    with alone.running():
        alone.on_hypervisor_thread(lambda: scheduler.throttle(gate))
        # A guest that never exits is interrupted for it.
        wait_until(lambda: gate.asked > 5)
        gate.closed = True
        asked = gate.asked
        wait_until(lambda: gate.asked > asked)
        alone.on_hypervisor_thread(lambda: None)
        count = alone.read64(DATA)
        fired: list[int] = []
        timer = scheduler.timers.new(lambda: fired.append(clock.now()))
        alone.on_hypervisor_thread(lambda: timer.arm(clock.now() + 1_000_000))
        wait_until(lambda: bool(fired))
        assert alone.read64(DATA) == count
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.01
        alone.on_hypervisor_thread(lambda: scheduler.throttle(None))
        wait_until(lambda: alone.read64(DATA) > count)
