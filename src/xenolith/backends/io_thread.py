"""What backends need of the I/O thread, which sleeps in a loop of its own: descriptors and the clock.

Backends live in the hypervisor thread; what they do in the I/O thread, they say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xenolith.machine.doze import Doze
from xenolith.machine.event_loop import EventLoop


class IoThread(NamedTuple):
    """The I/O thread and the way back from it."""

    loop: EventLoop
    """What the I/O thread runs; others may only post to it."""
    post: Callable[[Callable[[], None]], None]
    """Makes a call in the hypervisor thread; from any thread."""
    doze: Doze
    """Where the hypervisor thread sleeps; to be used there."""

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back in the hypervisor thread once time.monotonic() has reached ``when`` (seconds)."""
        self.loop.post(lambda: self._call_at(when, callback))

    def _call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.loop.call_at(when, lambda: self.post(callback))
