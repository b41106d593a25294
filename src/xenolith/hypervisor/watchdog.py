"""The two watchdogs of a domain (SCHEDOP_watchdog of public/sched.h): not fed in time, they shut it down."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.timers import TimerQueue

_COUNT = 2
_NANOSECONDS = 1_000_000_000


class Watchdogs:
    """Numbered from 1; ``bite`` is called when one expires."""

    def __init__(
        self, timers: TimerQueue, now: Callable[[], int], bite: Callable[[], None]
    ) -> None:
        self._now = now
        self._timers = [timers.new(bite) for _ in range(_COUNT)]
        self._in_use = [False] * _COUNT

    def set(self, number: int, timeout_s: int) -> int:
        """Take a watchdog (number 0; returns its number), feed it, or with timeout 0 release it."""
        if number == 0:
            if not timeout_s:
                raise XenError(Errno.EINVAL, "a watchdog needs a timeout")
            if all(self._in_use):
                raise XenError(Errno.ENOSPC, "all watchdogs are in use")
            index = self._in_use.index(False)
            self._in_use[index] = True
            self._arm(index, timeout_s)
            return index + 1
        if not 1 <= number <= _COUNT:
            raise XenError(Errno.EINVAL, f"watchdog {number}")
        index = number - 1
        if not self._in_use[index]:
            raise XenError(Errno.EINVAL, f"watchdog {number} is not in use")
        if timeout_s:
            self._arm(index, timeout_s)
        else:
            self._timers[index].cancel()
            self._in_use[index] = False
        return 0

    def _arm(self, index: int, timeout_s: int) -> None:
        self._timers[index].arm(self._now() + timeout_s * _NANOSECONDS)
