"""A client's way to the xenstore daemon within an event loop, over daemons' deaths.

It carries the messages of docs/misc/xenstore.txt. What must outlive a daemon is its users' business.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable

from xenolith.machine.event_loop import READ, WRITE, EventLoop
from xenolith.xenstore.protocol import Message, MessageParser, ProtocolError

_CHUNK = 1 << 16


class DaemonLink:
    """Belongs to the loop's thread. ``received`` takes the messages that have come, at least one at a time."""

    def __init__(self, loop: EventLoop, received: Callable[[list[Message]], None]) -> None:
        self._loop = loop
        self._received = received
        self._socket: socket.socket | None = None
        self._parser = MessageParser()
        self._unsent = b""
        self._reading = True

    def connect(self, sock: socket.socket, unanswered: Iterable[bytes]) -> None:
        """Go on over a new socket, in place of any other, with what the other left unanswered; owns it."""
        self._disconnect()
        sock.setblocking(False)
        self._socket = sock
        self._parser = MessageParser()
        self._unsent = b"".join(unanswered)
        self._loop.watch(sock.fileno(), READ, self._ready)
        self._send()

    def send(self, data: bytes) -> None:
        """Send encoded messages; where there is no daemon, :meth:`connect` is given them again."""
        if self._socket is not None:
            self._unsent += data
            self._send()

    def pause(self) -> None:
        """Receive nothing, so that the daemon has to wait."""
        self._reading = False
        self._watch()

    def resume(self) -> None:
        """Receive again."""
        self._reading = True
        self._watch()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._send()
        if events & ~WRITE and self._socket is not None:
            self._receive()

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_CHUNK)
            messages = list(self._parser.feed(data))
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            data, messages = b"", []
        if messages:
            self._received(messages)
        if not data:
            self._disconnect()

    def _send(self) -> None:
        assert self._socket is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()
        self._watch()

    def _watch(self) -> None:
        """Have the loop watch for what can be done now."""
        if self._socket is not None:
            events = (READ if self._reading else 0) | (WRITE if self._unsent else 0)
            self._loop.modify(self._socket.fileno(), events)

    def _disconnect(self) -> None:
        """Leave the daemon that went away."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
            self._unsent = b""
