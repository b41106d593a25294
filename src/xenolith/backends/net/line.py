"""A wire between two threads: the I/O thread reads ahead, the hypervisor thread takes frames and sends.

User-mode networking drops what its socket has no room for, and TCP then waits for a timeout. So frames
are read while the guest runs, into a queue that holds more than a TCP window. While it sleeps, the
hypervisor thread reads them itself: what passes one thread less comes earlier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from xenolith.backends.io_thread import IoThread
from xenolith.machine.event_loop import HANGUP, READ, WRITE
from xenolith.net.coalesce import coalesce
from xenolith.net.errors import WireClosedError
from xenolith.net.frame import Frame
from xenolith.net.wire import Wire

_FULL_BYTES = 8 << 20
"""Linux's TCP has windows of 6 MiB at most (net.ipv4.tcp_rmem)."""
_GO_ON_BYTES = 4 << 20
_FRAME_BYTES = 512
"""What a frame takes beside its data: there are peers that send many small ones, or empty ones."""
_BATCH = 128


class Line:
    """To be made in the I/O thread; all methods are the hypervisor thread's. It is a doze.Lender.

    ``ready`` is called when there may be frames again after :meth:`take` found none, when there may be
    room again after :meth:`send` found none, and when the wire is lost.
    """

    def __init__(self, io: IoThread, wire: Wire) -> None:
        self.ready: Callable[[], None] = lambda: None
        self.lost: WireClosedError | None = None
        """Why the wire has no other end any more."""
        self._io = io
        self._wire = wire
        self._frames: deque[Frame] = deque()
        # Each is changed by one thread only.
        self._read_bytes = 0
        self._taken_bytes = 0
        self._told = True
        """The hypervisor thread will look: it has been called, or has not yet seen the end."""
        self._full = False
        self._wants_room = False
        self._closed = False
        self._lent = False
        self._reading = Lock()
        """For whoever receives from the wire, or says who is to watch it."""
        io.loop.watch(wire.fileno(), READ, self._happened)
        io.post(lambda: io.doze.watch(self))

    def take(self) -> Frame | None:
        """The next frame; None if there is none now."""
        if not self._frames:
            self._told = False
            # What came just before that was not told of.
            if not self._frames:
                return None
            self._told = True
        frame = self._frames.popleft()
        self._taken_bytes += len(frame.data) + _FRAME_BYTES
        if self._full and self._read_bytes - self._taken_bytes < _GO_ON_BYTES:
            self._full = False
            self._io.loop.post(self._watch)
        return frame

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames; how many there was room for. WireClosedError."""
        sent = self._wire.send(frames)
        if sent < len(frames):
            self._wants_room = True
            self._io.loop.post(self._watch)
        return sent

    def close(self) -> None:
        """Give the wire back; ``ready`` is not called any more."""
        self.ready = lambda: None
        self._io.doze.forget(self)
        self._io.loop.post(self._close)

    def fileno(self) -> int:
        """See Lender."""
        return self._wire.fileno()

    def lend(self) -> bool:
        """See Lender."""
        with self._reading:
            if self.lost is not None or self._closed or self._full:
                return False
            if not self._lent:
                self._lent = True
                self._watch_lent()
        return True

    def give_back(self) -> None:
        """See Lender."""
        with self._reading:
            if self._lent:
                self._lent = False
                if self.lost is None and not self._closed:
                    self._watch_lent()

    def readable(self) -> None:
        """See Lender."""
        with self._reading:
            self._read()
        if self.lost is not None:
            self._io.loop.post(self._watch)
        self._told = True
        self.ready()

    def _happened(self, events: int) -> None:
        """The descriptor is ready. I/O thread."""
        if events & WRITE:
            self._wants_room = False
        if events & (READ | HANGUP):
            with self._reading:
                self._read()
        self._watch()
        if events & WRITE or not self._told:
            self._told = True
            self._io.post(self._call)

    def _read(self) -> None:
        """Read what is there, up to a batch."""
        if self.lost is not None or self._closed:
            return
        frames: list[Frame] = []
        try:
            while len(frames) < _BATCH and (frame := self._wire.receive()) is not None:
                frames.append(frame)
        except WireClosedError as error:
            self.lost = error
            self._told = False
        for frame in coalesce(frames) if len(frames) > 1 else frames:
            self._read_bytes += len(frame.data) + _FRAME_BYTES
            self._frames.append(frame)
        self._full = self._read_bytes - self._taken_bytes >= _FULL_BYTES

    def _watch(self) -> None:
        """Watch for what is wanted now. I/O thread."""
        with self._reading:
            if self._closed:
                return
            if self.lost is not None:
                self._io.loop.forget(self._wire.fileno())
            else:
                self._watch_lent()

    def _watch_lent(self) -> None:
        """Have the I/O thread watch for what the hypervisor thread does not; not lost, not closed."""
        events = (0 if self._full or self._lent else READ) | (WRITE if self._wants_room else 0)
        self._io.loop.modify(self._wire.fileno(), events)

    def _close(self) -> None:
        with self._reading:
            self._closed = True
            self._io.loop.forget(self._wire.fileno())
            self._wire.close()

    def _call(self) -> None:
        self.ready()
