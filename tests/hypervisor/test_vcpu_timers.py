"""The one-shot ticks of a vCPU keep their distance where a domain has many vCPUs."""

from __future__ import annotations

from xenolith.hypervisor.timers import TimerQueue
from xenolith.hypervisor.vcpu_timers import VcpuTimers, tick_spacing

MS = 1_000_000


class Clock:
    """A system time that stands still until it is moved, and the ticks that were heard at it."""

    def __init__(self, spacing: int) -> None:
        self.now = 0
        self.ticks: list[int] = []
        self.queue = TimerQueue(lambda _deadline: None)
        self.timers = VcpuTimers(
            self.queue, lambda: self.now, lambda: self.ticks.append(self.now), spacing
        )

    def run_to(self, moment: int) -> None:
        while (deadline := self.queue.next_deadline()) is not None and deadline <= moment:
            self.now = max(self.now, deadline)
            self.queue.expire(self.now)
        self.now = moment


def test_few_vcpus_tick_whenever_they_like() -> None:
    assert tick_spacing(1) == tick_spacing(16) == 0
    clock = Clock(tick_spacing(4))
    for deadline in (1, 2, 3):
        clock.timers.set_singleshot(deadline)
        clock.run_to(deadline)
    assert clock.ticks == [1, 2, 3]


def test_a_first_tick_is_never_late() -> None:
    clock = Clock(10 * MS)
    clock.timers.set_singleshot(4 * MS)
    clock.run_to(5 * MS)
    assert clock.ticks == [4 * MS]


def test_ticks_in_quick_succession_are_spaced() -> None:
    clock = Clock(10 * MS)
    for deadline in (4 * MS, 8 * MS, 12 * MS):
        clock.timers.set_singleshot(deadline)
        clock.run_to(clock.now + 10 * MS)
    assert clock.ticks == [4 * MS, 14 * MS, 24 * MS]


def test_a_deadline_that_has_passed_waits_for_its_distance_too() -> None:
    clock = Clock(10 * MS)
    clock.timers.set_singleshot(0)
    clock.timers.set_singleshot(0)
    assert clock.ticks == [0]
    clock.run_to(20 * MS)
    assert clock.ticks == [0, 10 * MS]


def test_a_tick_that_is_stopped_does_not_come() -> None:
    clock = Clock(10 * MS)
    clock.timers.set_singleshot(0)
    clock.timers.set_singleshot(1)
    clock.timers.stop_singleshot()
    clock.run_to(50 * MS)
    assert clock.ticks == [0]
