"""The timer of a local APIC: counts down once or for ever (Intel SDM volume 3, section 11.5.4)."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.timers import TimerQueue

TIMER_HZ = 100_000_000
"""The bus clock that the timer divides, as Xen's APIC_BUS_CYCLE_NS."""

_NS_PER_CYCLE = 1_000_000_000 // TIMER_HZ
_DIVIDE_BITS = 0xB

_MINIMUM_PERIOD_NS = 100_000
"""A shorter period would leave the guest no time between interrupts."""


class LapicTimer:
    """Calls ``expired`` each time that the count has come to zero."""

    def __init__(
        self, timers: TimerQueue, now: Callable[[], int], expired: Callable[[], None]
    ) -> None:
        self._now = now
        self._expired = expired
        self._timer = timers.new(self._run_out)
        self.reset()

    def reset(self) -> None:
        """Stop, and divide by two from now on."""
        self.initial = 0
        self.divide = 0
        self._periodic = False
        self._start: int | None = None
        self._timer.cancel()

    def set_initial(self, count: int) -> None:
        """Start to count down; 0 stops."""
        self.initial = count
        self._start = None
        self._timer.cancel()
        self._go_on(count)

    def set_divide(self, value: int) -> None:
        """Count slower or faster from here on."""
        count = self.current()
        self.divide = value & _DIVIDE_BITS
        self._go_on(count)

    def set_periodic(self, periodic: bool) -> None:
        """What happens when the count comes to zero: begin anew, or rest."""
        if periodic != self._periodic:
            count = self.current()
            self._periodic = periodic
            self._go_on(count)

    def current(self) -> int:
        """The current count."""
        if self._start is None:
            return 0
        passed = (self._now() - self._start) // self._ns_per_tick
        if self._periodic:
            passed %= self.initial
        return max(0, self.initial - passed)

    @property
    def _ns_per_tick(self) -> int:
        selector = self.divide & 3 | self.divide >> 1 & 4
        return _NS_PER_CYCLE << (selector + 1 & 7)

    def _go_on(self, count: int) -> None:
        """Count down from ``count``, unless the timer rests or has come to zero unnoticed."""
        now = self._now()
        due = self._timer.deadline
        if count and (due is None or due > now):
            self._start = now - (self.initial - count) * self._ns_per_tick
            self._timer.arm(now + count * self._ns_per_tick)

    def _run_out(self) -> None:
        if self._periodic and self._start is not None:
            # Periods that the guest was too slow for are dropped, not delivered in a burst.
            period = self.initial * self._ns_per_tick
            self._start += (self._now() - self._start) // period * period
            self._timer.arm(self._start + max(period, _MINIMUM_PERIOD_NS))
        else:
            self._start = None
        self._expired()
