"""Runs a switch in an event loop, over one descriptor for each port.

What a port cannot take at once waits in a queue of its own; when that is full, frames for this
port are dropped, as by any switch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from xenolith.machine.event_loop import HANGUP, READ, WRITE, EventLoop
from xenolith.net.errors import WireClosedError
from xenolith.net.frame import Frame
from xenolith.net.switch import Switch
from xenolith.net.wire import MessageWire

_BATCH = 32
"""Frames taken from one port before it is the next one's turn."""
_MAX_QUEUED_BYTES = 2 << 20


class SwitchLoop:
    """``on_unused`` is called when the last port has gone."""

    def __init__(self, loop: EventLoop, on_unused: Callable[[], None]) -> None:
        self._loop = loop
        self._on_unused = on_unused
        self._switch: Switch[_Port] = Switch(time.monotonic)

    def add(self, fd: int) -> None:
        """Connect a port; owns the descriptor. The port is gone when its other end is closed."""
        port = _Port(self._loop, fd)
        self._switch.add(port)
        self._loop.watch(fd, READ, lambda events: self._ready(port, events))

    @property
    def port_count(self) -> int:
        """How many ports there are."""
        return len(self._switch.ports)

    def _ready(self, port: _Port, events: int) -> None:
        try:
            if events & WRITE:
                port.flush()
            if events & (READ | HANGUP):
                self._take(port)
        except WireClosedError:
            self._remove(port)

    def _take(self, port: _Port) -> None:
        for _ in range(_BATCH):
            frame = port.wire.receive()
            if frame is None:
                return
            for target in self._switch.forward(port, frame.data):
                try:
                    target.send(frame)
                except WireClosedError:
                    # Its own turn to be read will tell.
                    continue

    def _remove(self, port: _Port) -> None:
        self._switch.remove(port)
        self._loop.forget(port.wire.fileno())
        port.wire.close()
        if not self._switch.ports:
            self._on_unused()


class _Port:
    """One port's wire, and what waits to be sent over it."""

    def __init__(self, loop: EventLoop, fd: int) -> None:
        self.wire = MessageWire(fd)
        self._loop = loop
        self._queue: deque[Frame] = deque()
        self._queued_bytes = 0
        self.dropped = 0

    def send(self, frame: Frame) -> None:
        """Send a frame, now or later, or drop it; WireClosedError."""
        if not self._queue and self.wire.send((frame,)):
            return
        if self._queued_bytes + len(frame.data) > _MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        if not self._queue:
            self._loop.modify(self.wire.fileno(), READ | WRITE)
        self._queue.append(Frame(bytes(frame.data), frame.offload))
        self._queued_bytes += len(frame.data)

    def flush(self) -> None:
        """Send what waits, as far as there is room; WireClosedError."""
        while self._queue and self.wire.send((self._queue[0],)):
            self._queued_bytes -= len(self._queue.popleft().data)
        if not self._queue:
            self._loop.modify(self.wire.fileno(), READ)
