"""The credit that limits how much an interface may transmit: so many bytes in each interval.

As Xen's netback does it, credit that was not used is not saved up, except for one large packet.
"""

from __future__ import annotations

from collections.abc import Callable

_LARGEST_PACKET = 1 << 17


class TokenBucket:
    """``bytes_per_interval`` each ``interval_us`` microseconds; ``clock`` gives seconds."""

    def __init__(
        self, bytes_per_interval: int, interval_us: int, clock: Callable[[], float]
    ) -> None:
        self._bytes = bytes_per_interval
        self._interval_s = interval_us / 1e6
        self._clock = clock
        self._credit = bytes_per_interval
        self._window_end = clock() + self._interval_s

    def take(self, size: int) -> float | None:
        """Spend ``size`` bytes, or spend none and say at which time to ask again."""
        if size > self._credit:
            now = self._clock()
            if now < self._window_end:
                return self._window_end
            burst = min(max(self._bytes, size), max(self._bytes, _LARGEST_PACKET))
            # A packet larger than an interval's share saves for it.
            passed = 1 + int((now - self._window_end) / self._interval_s)
            self._credit = min(self._credit + passed * self._bytes, burst)
            self._window_end = now + self._interval_s
            if size > self._credit:
                return self._window_end
        self._credit -= size
        return None
