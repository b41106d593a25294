"""Gives domains of greater weight their share of a CPU that they have in common with this one.

The host's scheduler treats the processes of domains alike, and an ordinary user cannot make it do otherwise.
So the lighter of two domains stands still now and then, as long as the heavier one wants to run and has got
less CPU time, by its weight, than this one. What it has got the host's own clocks tell (clock_getcpuclockid(3)).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xenolith.hypervisor.throttle import Throttle
from xenolith.toolstack import status_page
from xenolith.toolstack.status_page import StatusPage

CHECK_NS = 10_000_000
"""How often it is looked who has got how much."""
_PARK_NS = 5_000_000
"""The longest time for which this domain stands still before it looks again whether that helps anybody."""
_MOST_OWED_NS = 200_000_000
_MOST_AHEAD_NS = 20_000_000
"""Who is further behind, or ahead, is so no more: what was long ago does not count."""
_WHOLE_CPU = 0.9
"""Who gets this much of a CPU lacks nothing: the vCPUs of a domain take turns on one thread."""
_CPUCLOCK_SCHED = 2


class Rival(NamedTuple):
    """A heavier domain that may run on some CPU where this one may: its weight, and how to look at it."""

    weight: int
    cpu_time: Callable[[], int | None]
    """What it has used of the host's CPUs, in ns; None if it has ended."""
    wants_cpu: Callable[[], bool]
    """Whether a vCPU of it runs, or would."""


class WeightedShare:
    """A throttle: see the module."""

    def __init__(
        self,
        weight: int,
        rivals: Sequence[Rival],
        cpu_time: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self._weight = weight
        self._accounts = [_Account(rival, rival.weight / weight) for rival in rivals]
        self._cpu_time = cpu_time
        self._checked: tuple[int, int] | None = None

    def park(self, now: int) -> int:
        """See Throttle."""
        if self._checked is not None and now - self._checked[0] < _PARK_NS:
            return 0
        used = self._cpu_time()
        if self._checked is None:
            for account in self._accounts:
                account.begin()
            longest = 0
        else:
            elapsed, gained = now - self._checked[0], used - self._checked[1]
            longest = max(account.settle(elapsed, gained) for account in self._accounts)
        self._checked = now, used
        return min(longest, _PARK_NS)

    def stretch(self) -> int:
        """See Throttle."""
        return CHECK_NS


class _Account:
    """What is owed to one rival: CPU time, as much as it needs to draw level."""

    def __init__(self, rival: Rival, ratio: float) -> None:
        self._rival = rival
        self._ratio = ratio
        self._owed = 0.0
        self._wanted = False
        self._used: int | None = None

    def begin(self) -> None:
        self._used = self._rival.cpu_time()

    def settle(self, elapsed: int, gained: int) -> int:
        """What is owed now, ``elapsed`` ns after the last time, of which this domain has run ``gained``."""
        used, wants = self._rival.cpu_time(), self._rival.wants_cpu()
        if used is None or self._used is None or not wants:
            self._owed = 0.0
        elif self._wanted:
            got = used - self._used
            if got < _WHOLE_CPU * elapsed:
                self._owed += gained * self._ratio
            self._owed = min(_MOST_OWED_NS, max(-_MOST_AHEAD_NS, self._owed - got))
        self._used, self._wanted = used, wants
        return max(0, int(self._owed))


class Reported:
    """A throttle that shows in the status page when it parks: who is parked does not want to run."""

    def __init__(self, throttle: Throttle, status: StatusPage) -> None:
        self._throttle = throttle
        self._status = status

    def park(self, now: int) -> int:
        """See Throttle."""
        pause = self._throttle.park(now)
        if pause:
            self._status.set_parked_until(time.monotonic_ns() + pause)
        return pause

    def stretch(self) -> int:
        """See Throttle."""
        return self._throttle.stretch()


def rival(pid: int, weight: int, status_fd: int) -> Rival:
    """A domain by its process and its status page."""
    # The clock of a process's CPU time, as clock_getcpuclockid(3) makes it.
    clock = ~pid << 3 | _CPUCLOCK_SCHED

    def cpu_time() -> int | None:
        try:
            return time.clock_gettime_ns(clock)
        except OSError:
            return None

    return Rival(weight, cpu_time, lambda: status_page.wants_cpu(status_fd))
