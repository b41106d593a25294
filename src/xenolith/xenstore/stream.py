"""One socket that carries a client's messages, served from an event loop.

It gives every client its turn: a round serves a few requests, and a client that does not read its
replies is not read from either.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from xenolith.machine.event_loop import READ, WRITE, EventLoop
from xenolith.xenstore.connection import Connection
from xenolith.xenstore.database import Database
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.session import Session

_READ_SIZE = 16384
_ROUND = 16
"""How many requests of one client are served before the others have their turn."""


class Stream:
    """A session's connection while it lasts; ``on_close()`` is called at its end."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        database: Database,
        session: Session,
        on_close: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._database = database
        self._session = session
        self._on_close = on_close
        self._connection = Connection(database, session, self._post)
        self._interest = READ
        self._posted = False
        self._closed = False
        loop.watch(sock.fileno(), READ, self._ready)
        session.attach(self._connection.hear, self.close)

    def close(self) -> None:
        """Close the socket; a domain's watches and transactions stay, unless it misbehaved."""
        if self._closed:
            return
        self._closed = True
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._session.detach()
        if self._connection.broken or not self._session.durable:
            # If the journal is full, the watches of a domain come back with the next restart.
            with contextlib.suppress(XenstoreError):
                self._database.reset(self._session)
        self._on_close()

    def _ready(self, events: int) -> None:
        if events & READ:
            try:
                data = self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self._connection.receive(data)
        # A client that has hung up while we owe it replies is found out when they are sent.
        self._turn()

    def _post(self) -> None:
        """Have a turn soon, unless one is due already."""
        if not self._posted:
            self._posted = True
            self._loop.post(self._posted_turn)

    def _posted_turn(self) -> None:
        self._posted = False
        if not self._closed:
            self._turn()

    def _turn(self) -> None:
        connection = self._connection
        connection.serve(_ROUND)
        if not self._closed and self._flush():
            if connection.busy:
                self._post()
            elif connection.broken:
                self.close()
                return
            self._watch()

    def _flush(self) -> bool:
        """Send what the socket takes; False if the client is gone."""
        connection = self._connection
        while connection.pending:
            try:
                count = self._sock.send(connection.output())
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return False
            connection.sent(count)
        return True

    def _watch(self) -> None:
        """Wait for what can be used: input, or room for output."""
        connection = self._connection
        interest = (READ if connection.hungry else 0) | (WRITE if connection.pending else 0)
        if interest != self._interest:
            self._interest = interest
            self._loop.modify(self._sock.fileno(), interest)
