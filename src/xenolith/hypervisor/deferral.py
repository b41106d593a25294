"""Calls that can wait a little, so that more of the same comes together: until a vCPU goes to sleep.

That is when the guest can do no more without an answer. Nothing in Xen corresponds to it; in domain 0
a driver's thread is late by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.timers import TimerQueue

_LONGEST_NS = 500_000
"""The most that a guest waits which does not go to sleep."""


class DeferredCalls:
    """To be used on the hypervisor thread; ``now`` is the domain's system time in nanoseconds."""

    def __init__(self, timers: TimerQueue, now: Callable[[], int]) -> None:
        self._now = now
        self._timer = timers.new(self._make_all)
        self._calls: list[Callable[[], None]] = []

    def add(self, call: Callable[[], None]) -> None:
        """Have a call made soon."""
        if not self._calls:
            self._timer.arm(self._now() + _LONGEST_NS)
        self._calls.append(call)

    def make(self) -> bool:
        """Make all calls that wait; whether there were any."""
        if not self._calls:
            return False
        self._timer.cancel()
        self._make_all()
        return True

    def _make_all(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()
