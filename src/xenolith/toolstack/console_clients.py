"""The people at a domain's console: each gets the whole log at its own pace, and may type.

Lives in the I/O thread of a domain process, as xenconsoled lives beside Xen (tools/console).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from xenolith.machine.event_loop import HANGUP, READ, WRITE, EventLoop
from xenolith.toolstack.console_log import ConsoleLog

DRAIN_S = 5.0
"""How long, once the domain has ended, a client may read nothing before it is given up."""

_CHUNK = 1 << 14
_CHUNKS_IN_TURN = 64
_TYPED_CHUNK = 1024
_SOCKET_BUFFER = 1 << 20


class _Client:
    def __init__(self, sock: socket.socket, log: ConsoleLog) -> None:
        self.socket = sock
        self.cursor = log.open_cursor()
        self.unsent = b""
        self.watched: int | None = None
        self.behind = False
        self.may_type = True
        self.stuck_at = -1


class ConsoleClients:
    """The sockets attached to one console.

    ``on_typed`` takes what was typed. Typing is read only while the guest takes it: it stops with
    each call of ``on_typed`` and goes on with :meth:`take_typing`.
    """

    def __init__(self, loop: EventLoop, log: ConsoleLog, on_typed: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._log = log
        self._on_typed = on_typed
        self._clients: dict[int, _Client] = {}
        self._typing = True
        self._on_drained: Callable[[], None] | None = None

    @property
    def attached(self) -> bool:
        """Whether anybody is there. May be asked from any thread."""
        return bool(self._clients)

    def attach(self, sock: socket.socket) -> None:
        """Serve a client from now on; owns the socket."""
        sock.setblocking(False)
        client = _Client(sock, self._log)
        self._clients[sock.fileno()] = client
        self._watch(client)
        self._send(client)

    def show_new_output(self) -> None:
        """Send what the log has gained to all who had read it up to there."""
        for client in list(self._clients.values()):
            if not client.behind:
                self._send(client)

    def take_typing(self) -> None:
        """Let clients type again."""
        self._typing = True
        for client in self._clients.values():
            self._watch(client)

    def drain(self, on_drained: Callable[[], None]) -> None:
        """The log is complete: deliver its rest, close every socket, then call back.

        A client that reads nothing for DRAIN_S seconds is closed all the same.
        """
        self._on_drained = on_drained
        for client in list(self._clients.values()):
            client.may_type = False
            self._watch(client)
            self._send(client)
        self._check_drained()
        if self._clients:
            self._loop.call_later(DRAIN_S, self._close_stuck)

    def _send(self, client: _Client) -> None:
        """Send until the client has all there is, takes no more for now, or has had its turn."""
        client.behind = True
        try:
            for _ in range(_CHUNKS_IN_TURN):
                client.unsent = client.unsent or self._log.read(client.cursor, _CHUNK)
                if not client.unsent:
                    client.behind = False
                    break
                client.unsent = client.unsent[client.socket.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(client)
            return
        if self._on_drained is not None and not client.behind:
            self._close(client)
        else:
            self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Have the loop watch for what can be done for this client now."""
        events: int | None = WRITE if client.behind else 0
        if client.may_type and self._typing:
            events = READ | (WRITE if client.behind else 0)
        elif client.may_type and not client.behind:
            # A hang-up would be reported again and again while its last words must wait.
            events = None
        fd = client.socket.fileno()
        if events == client.watched:
            return
        if events is None:
            self._loop.forget(fd)
        elif client.watched is None:
            self._loop.watch(fd, events, lambda ready: self._ready(client, ready))
        else:
            self._loop.modify(fd, events)
        client.watched = events

    def _ready(self, client: _Client, events: int) -> None:
        if events & WRITE:
            self._send(client)
        if client.socket.fileno() < 0:
            return
        if client.may_type and self._typing and events & (READ | HANGUP):
            self._read(client)
        elif events & HANGUP:
            self._close(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_TYPED_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)
            return
        if data:
            self._typing = False
            for other in self._clients.values():
                self._watch(other)
            self._on_typed(data)
        else:
            client.may_type = False
            self._watch(client)

    def _close_stuck(self) -> None:
        for client in list(self._clients.values()):
            place = client.cursor.offset - len(client.unsent)
            if place == client.stuck_at:
                self._close(client)
            client.stuck_at = place
        if self._clients:
            self._loop.call_later(DRAIN_S, self._close_stuck)

    def _close(self, client: _Client) -> None:
        fd = client.socket.fileno()
        del self._clients[fd]
        self._loop.forget(fd)
        self._log.close_cursor(client.cursor)
        with contextlib.suppress(OSError):
            # Closing over unread typing would make the client's read fail instead of end.
            client.socket.shutdown(socket.SHUT_WR)
            client.socket.recv(_SOCKET_BUFFER)
        client.socket.close()
        self._check_drained()

    def _check_drained(self) -> None:
        if self._on_drained is not None and not self._clients:
            done, self._on_drained = self._on_drained, None
            done()
