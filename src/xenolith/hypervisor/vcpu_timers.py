"""The timers by which a vCPU gets VIRQ_TIMER, a one-shot and a periodic one (public/vcpu.h).

They are independent of each other, as struct vcpu's are in Xen's common/sched/core.c.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.timers import TimerQueue

_SIGN = 1 << 63

_UNSPACED_VCPUS = 16
_SPACING_PER_VCPU = 250_000
"""What waking a vCPU for a tick costs where vCPUs take turns on one processor, in ns."""


def tick_spacing(vcpus: int) -> int:
    """How far apart the one-shot ticks of a vCPU must be, in ns, for a domain of so many to get on.

    A Linux that boots ticks on every vCPU 250 times a second. The ticks of 128 take three seconds a second.
    """
    return max(0, vcpus - _UNSPACED_VCPUS) * _SPACING_PER_VCPU


class VcpuTimers:
    """Calls ``tick`` when one of them is due; times are ns of system time.

    One-shot ticks are at least ``spacing`` ns apart: see :func:`tick_spacing`.
    """

    def __init__(
        self, timers: TimerQueue, now: Callable[[], int], tick: Callable[[], None], spacing: int = 0
    ) -> None:
        self._now = now
        self._tick = tick
        self._spacing = spacing
        self._earliest = 0
        self._singleshot = timers.new(self._deadline_reached)
        self._periodic = timers.new(self._period_over)
        self._period = 0

    def set_singleshot(self, deadline: int) -> None:
        """Tick once at ``deadline``, at once if that has passed; it is a signed number in 64 bits."""
        if deadline >= _SIGN:
            deadline = 0
        deadline = max(deadline, self._earliest)
        if deadline <= self._now():
            self._singleshot.cancel()
            self._deadline_reached()
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

    def _deadline_reached(self) -> None:
        if self._spacing:
            self._earliest = self._now() + self._spacing
        self._tick()

    def _period_over(self) -> None:
        self._periodic.arm(self._now() + self._period)
        self._tick()
