"""A single-threaded event loop over epoll: readable and writable descriptors, timers, posts.

Nothing in it polls: with no descriptor ready and no timer due the thread sleeps in the kernel.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP | select.EPOLLERR

Callback = Callable[[], None]

_COMPACT_ABOVE = 64


class Timer:
    """A pending call; :meth:`cancel` makes it never happen."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Forget the call; harmless once it has happened."""
        self.callback = None


class EventLoop:
    """Calls back on readiness and deadlines, all from the thread that is in :meth:`run`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._compact_above = _COMPACT_ABOVE
        self._sequence = itertools.count()
        self._posted: deque[Callback] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running = False
        self.watch(self._wake, READ, self._drain_wake)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call ``handler(ready_events)`` whenever ``fd`` is ready (level triggered)."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        """Change the events that a watched ``fd`` is watched for."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``; call it before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call back once time.monotonic() has reached ``when`` (seconds)."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._sequence), timer))
        if len(self._timers) > self._compact_above:
            self._compact()
        return timer

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back after ``delay`` seconds."""
        return self.call_at(time.monotonic() + delay, callback)

    def post(self, callback: Callback) -> None:
        """Call back soon, from the loop's thread; safe from any thread and from handlers."""
        self._posted.append(callback)
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        self._running = True
        while self._running:
            for fd, events, handler in self._ready():
                # One that an earlier handler of this round has replaced did not ask for this event.
                if self._handlers.get(fd) is handler:
                    handler(events)
            self._run_timers()

    def stop(self) -> None:
        """Make :meth:`run` return after the current round; call it from the loop's thread."""
        self._running = False

    def close(self) -> None:
        """Release the loop's own descriptors."""
        self._epoll.close()
        os.close(self._wake)

    def _ready(self) -> list[tuple[int, int, Callable[[int], None]]]:
        """Sleep until a descriptor is ready or a timer due; what is ready, and its handlers."""
        return [
            (fd, events, self._handlers[fd]) for fd, events in self._epoll.poll(self._timeout())
        ]

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()

    def _drain_wake(self, _events: int) -> None:
        os.eventfd_read(self._wake)
        for _ in range(len(self._posted)):
            self._posted.popleft()()

    def _compact(self) -> None:
        """Drop cancelled timers, which would otherwise stay until they are due."""
        self._timers = [entry for entry in self._timers if entry[2].callback is not None]
        heapq.heapify(self._timers)
        self._compact_above = max(_COMPACT_ABOVE, 2 * len(self._timers))
