"""Calls that wait until a vCPU goes to sleep."""

from __future__ import annotations

import threading

import pytest
from small_domain import HALT_FOR_EVER, SPIN, SmallDomain

from xenolith.hypervisor.deferral import DeferredCalls
from xenolith.hypervisor.timers import TimerQueue

LONGEST_NS = 500_000


def test_calls_are_made_in_their_order_and_once() -> None:
    made: list[int] = []
    deferred = DeferredCalls(TimerQueue(lambda _deadline: None), lambda: 0)
    assert not deferred.make()
    deferred.add(lambda: made.append(1))
    deferred.add(lambda: made.append(2))
    assert made == []
    assert deferred.make()
    assert made == [1, 2]
    assert not deferred.make()


def test_nobody_waits_for_longer_than_half_a_millisecond() -> None:
    made: list[int] = []
    timers = TimerQueue(lambda _deadline: None)
    deferred = DeferredCalls(timers, lambda: 1000)
    deferred.add(lambda: made.append(1))
    timers.expire(1000 + LONGEST_NS - 1)
    assert made == []
    timers.expire(1000 + LONGEST_NS)
    assert made == [1]
    # The next ones have a time of their own.
    deferred.add(lambda: made.append(2))
    assert timers.next_deadline() == 1000 + LONGEST_NS


def test_a_call_that_defers_another_does_not_make_it() -> None:
    made: list[int] = []
    deferred = DeferredCalls(TimerQueue(lambda _deadline: None), lambda: 0)
    deferred.add(lambda: deferred.add(lambda: made.append(1)))
    assert deferred.make()
    assert made == []
    assert deferred.make()
    assert made == [1]


@pytest.mark.parametrize("code", [HALT_FOR_EVER, SPIN])
def test_a_guest_that_sleeps_and_one_that_does_not_have_the_calls_made(code: bytes) -> None:
    small = SmallDomain(vcpus=1)
    small.start(0, code)
    done = threading.Event()
    with small.running():
        small.on_hypervisor_thread(lambda: small.domain.scheduler.defer(done.set))
        assert done.wait(10)
    small.close()
