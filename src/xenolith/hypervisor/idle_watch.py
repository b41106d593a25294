"""Notices when a domain that was busy has become idle, without a timer: only when it goes to sleep anyway."""

from __future__ import annotations

from collections.abc import Callable

_WINDOW_NS = 2_000_000_000
_IDLE, _BUSY = 0.02, 0.25
"""Shares of the time that the vCPUs ran."""


class IdleWatch:
    """Calls ``became_idle`` once after each time in which the domain was busy."""

    def __init__(self, became_idle: Callable[[], None]) -> None:
        self._became_idle = became_idle
        self._start: int | None = None
        self._ran = 0
        self._was_busy = True

    def charge(self, nanoseconds: int) -> None:
        """A vCPU has run so long."""
        self._ran += nanoseconds

    def going_to_sleep(self, now: int) -> None:
        """No vCPU is runnable; ``now`` in nanoseconds."""
        if self._start is None:
            self._start = now
        length = now - self._start
        if length < _WINDOW_NS:
            return
        if self._ran > _BUSY * length:
            self._was_busy = True
        elif self._was_busy and self._ran < _IDLE * length:
            self._was_busy = False
            self._became_idle()
        self._start, self._ran = now, 0
