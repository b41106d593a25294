"""The non-blocking ends of the toolstack's connections, for processes that run an event loop.

The messages are those of rpc.py. A peer that breaks the protocol, or that does not read what it
is sent, loses its connection and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from xenolith.machine.event_loop import HANGUP, READ, WRITE, EventLoop
from xenolith.toolstack import rpc

MAX_UNSENT = 8 << 20
"""Bytes that wait for a peer to read before the connection is given up."""

Answer = Callable[[Any, list[int]], None]
"""Takes the result of a call, or the RemoteError or ProtocolError that came instead."""


class Request:
    """A call by a peer; answered once, now or later, unless it is a notification."""

    def __init__(self, connection: LoopConnection, message: rpc.Message) -> None:
        self.method: str = message.body["method"]
        params = message.body.get("params")
        self.params: rpc.Body = params if isinstance(params, dict) else {}
        self.fds = message.fds
        self._number = message.body.get("id")
        self._connection = connection

    @property
    def abandoned(self) -> bool:
        """Whether the peer has gone and no answer will reach it."""
        return self._connection.closed

    def when_abandoned(self, call: Callable[[], None]) -> None:
        """Call back when the peer has gone, whether or not it has its answer by then."""
        self._connection.when_closed(call)

    def reply(self, result: Any = None, fds: Sequence[int] = ()) -> None:
        """Answer with a result; ``fds`` are closed once they are sent."""
        if isinstance(self._number, int):
            self._connection.send(rpc.response(self._number, result), fds)
        else:
            rpc.close_all(fds)

    def fail(self, sentence: str, code: int = rpc.SERVER_ERROR) -> None:
        """Answer with an error, one sentence for the user."""
        if isinstance(self._number, int):
            self._connection.send(rpc.failure(self._number, sentence, code))


class LoopConnection:
    """One connection in an event loop: makes calls, and serves those of its peer.

    A peer that is not to hand in descriptors (``max_fds``) and does loses its connection.
    """

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_request: Callable[[Request], None],
        on_close: Callable[[], None],
        max_fds: int = rpc.MAX_FDS,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_request = on_request
        self._on_close = [on_close]
        self._decoder = rpc.Decoder(max_fds=max_fds)
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._unsent_bytes = 0
        self._calls: dict[int, Answer] = {}
        self._last_call = 0
        self.closed = False
        sock.setblocking(False)
        self._watched = READ
        loop.watch(sock.fileno(), READ, self._ready)

    def call(self, method: str, params: rpc.Body, answer: Answer, fds: Sequence[int] = ()) -> None:
        """Call the peer; ``answer`` runs later, exactly once. ``fds`` are closed once sent."""
        self._last_call += 1
        number = self._last_call
        if self.closed:
            self._loop.post(lambda: answer(rpc.ProtocolError("the connection was closed"), []))
        else:
            self._calls[number] = answer
        self.send(rpc.request(number, method, params), fds)

    def notify(self, method: str, params: rpc.Body) -> None:
        """Tell the peer something that it does not answer."""
        self.send(rpc.notification(method, params))

    def send(self, body: rpc.Body, fds: Sequence[int] = ()) -> None:
        """Send one message as soon as the peer takes it; ``fds`` are closed then."""
        if self.closed:
            rpc.close_all(fds)
            return
        data = rpc.encode(body, len(fds))
        self._unsent.append((data, list(fds)))
        self._unsent_bytes += len(data)
        self._flush()

    def when_closed(self, call: Callable[[], None]) -> None:
        """Call back once the connection is closed, by either side."""
        self._on_close.append(call)

    def close(self) -> None:
        """Close the connection; calls without an answer fail. Harmless when already closed."""
        if self.closed:
            return
        self.closed = True
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._decoder.close()
        for _, fds in self._unsent:
            rpc.close_all(fds)
        self._unsent.clear()
        # Posted, so that no caller of send() or call() is called back before it returns.
        self._loop.post(self._report_close)

    def leave(self) -> None:
        """Have nothing more to do with the connection, in a forked child; close nothing."""
        self.closed = True
        self._socket.detach()

    def _report_close(self) -> None:
        calls, self._calls = self._calls, {}
        for answer in calls.values():
            answer(rpc.ProtocolError("the connection was closed"), [])
        for call in self._on_close:
            call()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & (READ | HANGUP) and not self.closed:
            self._receive()

    def _receive(self) -> None:
        try:
            data, fds = rpc.receive(self._socket)
            messages = self._decoder.feed(data, fds)
        except BlockingIOError:
            return
        except (OSError, rpc.ProtocolError):
            self.close()
            return
        for message in messages:
            if self.closed:
                rpc.close_all(message.fds)
            else:
                self._dispatch(message)
        if not data:
            self.close()

    def _dispatch(self, message: rpc.Message) -> None:
        if isinstance(message.body.get("method"), str):
            request = Request(self, message)
            self._on_request(request)
            return
        number = message.body.get("id")
        answer = self._calls.pop(number, None) if isinstance(number, int) else None
        if answer is None:
            rpc.close_all(message.fds)
            self.close()
            return
        try:
            result = rpc.result_of(message.body)
        except (rpc.RemoteError, rpc.ProtocolError) as error:
            result = error
        answer(result, message.fds)

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._send_first()
        except BlockingIOError:
            if self._unsent_bytes > MAX_UNSENT:
                self.close()
            else:
                self._watch_for(READ | WRITE)
        except OSError:
            self.close()
        else:
            self._watch_for(READ)

    def _watch_for(self, events: int) -> None:
        if events != self._watched:
            self._watched = events
            self._loop.modify(self._socket.fileno(), events)

    def _send_first(self) -> None:
        data, fds = self._unsent[0]
        sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
        # The descriptors went with the first byte.
        rpc.close_all(fds)
        self._unsent_bytes -= sent
        if sent == len(data):
            self._unsent.popleft()
        else:
            self._unsent[0] = (data[sent:], [])


class Listener:
    """A listening unix socket whose peers, all of this user, are served by ``on_accept``."""

    def __init__(
        self, loop: EventLoop, sock: socket.socket, on_accept: Callable[[socket.socket], None]
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_accept = on_accept
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)

    def close(self) -> None:
        """Stop listening."""
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _ready(self, _events: int) -> None:
        try:
            peer, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._pause()
            return
        try:
            rpc.check_peer(peer)
        except (OSError, rpc.ProtocolError):
            peer.close()
            return
        self._on_accept(peer)

    def _pause(self) -> None:
        """Leave callers waiting for a second: without descriptors, readiness would spin."""
        self._loop.modify(self._socket.fileno(), 0)
        self._loop.call_later(1.0, self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.modify(self._socket.fileno(), READ)


def listen(path: str) -> socket.socket:
    """A socket that listens at ``path`` for this user only, in place of any stale one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    os.chmod(path, 0o600)
    sock.listen(128)
    return sock
