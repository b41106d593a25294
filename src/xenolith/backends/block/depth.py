"""Whether a frontend keeps many requests under way, so that it pays to serve them together.

Each request that is served when it is announced costs the guest a hypercall and an interrupt. Serving
when the guest goes to sleep costs two for many requests, but a request that is alone comes dearer then:
going to sleep and coming back takes longer than an interrupt.
"""

from __future__ import annotations

_ENOUGH = 4
"""So many requests together are cheaper than one after the other."""

_FIRST_TRIAL, _LAST_TRIAL = 16, 1024
_FAILURES = 2
"""A guest may have been interrupted by something else once."""


class QueueDepth:
    """What is known of one ring's frontend: by trying now and then what comes if it is left alone."""

    def __init__(self) -> None:
        self._interval = _FIRST_TRIAL
        self._until_trial = _FIRST_TRIAL
        self._failures = _FAILURES

    def should_wait(self) -> bool:
        """Requests are announced: whether to leave them until the guest goes to sleep."""
        if self._failures < _FAILURES:
            return True
        self._until_trial -= 1
        return self._until_trial <= 0

    def came(self, count: int) -> None:
        """So many requests had come together when the guest went to sleep."""
        if count >= _ENOUGH:
            self._failures = 0
            self._interval = _FIRST_TRIAL
            return
        self._failures += 1
        if self._failures >= _FAILURES:
            self._failures = _FAILURES
            self._until_trial = self._interval
            self._interval = min(2 * self._interval, _LAST_TRIAL)
