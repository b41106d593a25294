"""The watchdogs of a domain (Xen's domain_watchdog())."""

from __future__ import annotations

import pytest

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.timers import TimerQueue
from xenolith.hypervisor.watchdog import Watchdogs

SECOND = 1_000_000_000


class Kennel:
    """Two watchdogs over a clock by hand."""

    def __init__(self) -> None:
        self.now = 0
        self.bites = 0
        self.timers = TimerQueue(lambda _deadline: None)
        self.watchdogs = Watchdogs(self.timers, lambda: self.now, self.bite)

    def bite(self) -> None:
        self.bites += 1

    def pass_time(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.timers.expire(self.now)


def test_one_that_is_not_fed_bites_once() -> None:
    kennel = Kennel()
    assert kennel.watchdogs.set(0, 10) == 1
    kennel.pass_time(9)
    assert kennel.bites == 0
    kennel.pass_time(1)
    assert kennel.bites == 1
    kennel.pass_time(100)
    assert kennel.bites == 1


def test_one_that_is_fed_does_not_bite() -> None:
    kennel = Kennel()
    number = kennel.watchdogs.set(0, 10)
    for _ in range(5):
        kennel.pass_time(9)
        assert kennel.watchdogs.set(number, 10) == 0
    assert kennel.bites == 0


def test_one_that_is_released_does_not_bite_and_can_be_taken_again() -> None:
    kennel = Kennel()
    number = kennel.watchdogs.set(0, 10)
    assert kennel.watchdogs.set(number, 0) == 0
    kennel.pass_time(20)
    assert kennel.bites == 0
    assert kennel.watchdogs.set(0, 10) == number


def test_there_are_two_and_they_are_independent() -> None:
    kennel = Kennel()
    first, second = kennel.watchdogs.set(0, 10), kennel.watchdogs.set(0, 20)
    assert (first, second) == (1, 2)
    with pytest.raises(XenError) as caught:
        kennel.watchdogs.set(0, 10)
    assert caught.value.errno == Errno.ENOSPC
    kennel.watchdogs.set(first, 0)
    kennel.pass_time(19)
    assert kennel.bites == 0
    kennel.pass_time(1)
    assert kennel.bites == 1


@pytest.mark.parametrize(("number", "timeout"), [(0, 0), (1, 10), (2, 0), (3, 10), (0xFFFFFFFF, 1)])
def test_what_makes_no_sense_is_invalid(number: int, timeout: int) -> None:
    with pytest.raises(XenError) as caught:
        Kennel().watchdogs.set(number, timeout)
    assert caught.value.errno == Errno.EINVAL


def test_the_longest_timeout_is_accepted() -> None:
    kennel = Kennel()
    assert kennel.watchdogs.set(0, 0xFFFFFFFF) == 1
    kennel.pass_time(10**9)
    assert kennel.bites == 0
