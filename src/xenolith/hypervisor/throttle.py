"""Keeps a domain from using more of the host's CPUs than it may, by times in which none of its vCPUs runs.

That is how Xen's credit scheduler keeps a cap: it parks the vCPUs of a domain that has used its credits up
(xen/common/sched/credit.c).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

PERIOD_NS = 30_000_000
"""A capped domain runs and is parked once in about such a time, which is that of Xen's accounting."""


class Throttle(Protocol):
    """What a domain's scheduler asks before it runs a vCPU; on the hypervisor thread, times in nanoseconds."""

    def park(self, now: int) -> int:
        """How long no vCPU may run from ``now`` on; 0 if they may."""

    def stretch(self) -> int:
        """How long they may then run before :meth:`park` has to be asked again."""


class Cap:
    """At most so many percent of one CPU, over each period: a token bucket of CPU time.

    It starts full and holds two periods' worth, so that what a late wake-up has cost can be made up for.
    """

    def __init__(
        self,
        percent: int,
        cpu_time: Callable[[], int] = time.thread_time_ns,
        period: int = PERIOD_NS,
    ) -> None:
        self._rate = percent / 100
        self._full = int(period * self._rate)
        self._tokens: float = self._full
        self._cpu_time = cpu_time
        self._last: tuple[int, int] | None = None
        """When tokens were last counted, and the CPU time by then."""

    def park(self, now: int) -> int:
        """See Throttle."""
        used = self._cpu_time()
        if self._last is not None:
            earned = (now - self._last[0]) * self._rate
            self._tokens = min(2 * self._full, self._tokens + earned) - (used - self._last[1])
        self._last = now, used
        return 0 if self._tokens >= 1 else int((self._full - self._tokens) / self._rate)

    def stretch(self) -> int:
        """See Throttle."""
        return int(self._tokens)


class Together:
    """Several throttles, each of which may park the domain."""

    def __init__(self, throttles: Sequence[Throttle]) -> None:
        self._throttles = throttles

    def park(self, now: int) -> int:
        """See Throttle."""
        return max(throttle.park(now) for throttle in self._throttles)

    def stretch(self) -> int:
        """See Throttle."""
        return min(throttle.stretch() for throttle in self._throttles)
