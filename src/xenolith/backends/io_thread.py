"""What the I/O thread does for backends: it watches descriptors and the clock, and calls back.

The calls come in the hypervisor thread, where backends live.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from xenolith.machine.event_loop import EventLoop

Post = Callable[[Callable[[], None]], None]


class Watch:
    """Watches a descriptor, once for each :meth:`arm`. To be made in the I/O thread.

    ``ready`` is to be set before the first :meth:`arm`.
    """

    def __init__(self, loop: EventLoop, post: Post, fd: int) -> None:
        self.ready: Callable[[], None] = lambda: None
        self._loop = loop
        self._post = post
        self._fd = fd
        self._closed = False
        loop.watch(fd, select.EPOLLONESHOT, lambda _events: post(self._call))

    def arm(self, events: int) -> None:
        """Call ``ready`` once, when the descriptor is ready for READ or WRITE or has no other end."""
        self._loop.modify(self._fd, events | select.EPOLLONESHOT)

    def close(self, release: Callable[[], None]) -> None:
        """Never call again, and have ``release`` close the descriptor when it is watched no more."""
        self._closed = True

        def forget() -> None:
            self._loop.forget(self._fd)
            release()

        self._loop.post(forget)

    def _call(self) -> None:
        if not self._closed:
            self.ready()


class IoThread:
    """The I/O thread that runs ``loop``; ``post`` makes a call in the hypervisor thread."""

    def __init__(self, loop: EventLoop, post: Post) -> None:
        self._loop = loop
        self._post = post

    def watch(self, fd: int) -> Watch:
        """Watch a descriptor. In the I/O thread."""
        return Watch(self._loop, self._post, fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back once time.monotonic() has reached ``when`` (seconds); from any thread."""
        self._loop.post(lambda: self._call_at(when, callback))

    def _call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._loop.call_at(when, lambda: self._post(callback))
