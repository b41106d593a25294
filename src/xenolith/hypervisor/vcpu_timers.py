"""The timers by which a vCPU gets VIRQ_TIMER, a one-shot and a periodic one (public/vcpu.h).

They are independent of each other, as struct vcpu's are in Xen's common/sched/core.c.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.timers import TimerQueue

_SIGN = 1 << 63


class VcpuTimers:
    """Calls ``tick`` when one of them is due; times are ns of system time."""

    def __init__(
        self, timers: TimerQueue, now: Callable[[], int], tick: Callable[[], None]
    ) -> None:
        self._now = now
        self._tick = tick
        self._singleshot = timers.new(tick)
        self._periodic = timers.new(self._period_over)
        self._period = 0

    def set_singleshot(self, deadline: int) -> None:
        """Tick once at ``deadline``, at once if that has passed; it is a signed number in 64 bits."""
        if deadline >= _SIGN or deadline <= self._now():
            self._singleshot.cancel()
            self._tick()
        else:
            self._singleshot.arm(deadline)

    def stop_singleshot(self) -> None:
        """Forget the deadline."""
        self._singleshot.cancel()

    def set_periodic(self, period: int) -> None:
        """Tick every ``period`` from now on."""
        self._period = period
        self._periodic.arm(self._now() + period)

    def stop_periodic(self) -> None:
        """End the period."""
        self._periodic.cancel()

    def _period_over(self) -> None:
        self._periodic.arm(self._now() + self._period)
        self._tick()
