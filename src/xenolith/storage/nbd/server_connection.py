"""One client of the NBD server after its handshake: its requests, several of them at once.

The workers of a connection take turns at receiving: whoever has received a request lets the next
one receive and executes it, so nothing is handed from thread to thread, and a connection has as
many requests under way as it has workers. Replies leave in the order in which they are ready.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from xenolith.storage.nbd import stream
from xenolith.storage.nbd.commands import Commands, Exchange, Reply
from xenolith.storage.nbd.constants import MAX_PAYLOAD, Command, CommandFlag
from xenolith.storage.nbd.protocol import REQUEST_SIZE, ProtocolError, Request, decode_request

WORKERS = 8
"""Requests of a connection that are executed at once."""
_KEPT = 4 << 20
"""Bytes that a worker keeps for its next request, however much the last one needed."""


class _Memory:
    """What one worker receives into; it is used again for each request."""

    def __init__(self) -> None:
        self.head = memoryview(bytearray(REQUEST_SIZE))
        self._data = memoryview(b"")

    def data(self, length: int) -> memoryview:
        """Memory for the data of a request."""
        if len(self._data) < length or len(self._data) > _KEPT:
            self._data = memoryview(bytearray(length))
        return self._data[:length]


class ServerConnection:
    """Serves the requests of one client until it leaves, or is sent away."""

    def __init__(self, sock: socket.socket, commands: Commands) -> None:
        self._socket = sock
        self._commands = commands
        self._receiving = threading.Lock()
        self._sending = threading.Lock()
        self._ended = False
        self._received = 0
        """Requests; changed by the one that receives."""
        self._replied = 0
        """Those that are replied to; changed by the one that sends."""
        self._workers: list[threading.Thread] = []

    def serve(self) -> None:
        """Be the first worker; return when all requests are done and the client is gone."""
        self._work()
        for worker in self._workers:
            worker.join()

    def end(self) -> None:
        """Receive no more requests; those under way are executed. From any thread."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _work(self) -> None:
        memory = _Memory()
        try:
            while (exchange := self._next(memory)) is not None:
                self._send(self._commands.execute(exchange))
        except (OSError, ProtocolError):
            # The client is gone, or nobody knows what its next byte means.
            self.end()
        except BaseException:
            self.end()
            raise

    def _next(self, memory: _Memory) -> Exchange | None:
        """Receive until a request takes a while; those that do not are replied to at once."""
        with self._receiving:
            while not self._ended:
                exchange = self._receive(memory)
                if exchange is None:
                    # Not shut down: the replies to what is under way are still to be sent.
                    self._ended = True
                    break
                self._received += 1
                reply = self._commands.execute_at_once(exchange)
                if reply is None:
                    self._have_a_receiver()
                    return exchange
                self._send(reply)
        return None

    def _receive(self, memory: _Memory) -> Exchange | None:
        """The next request, None where the client takes its leave."""
        stream.receive_into(self._socket, [memory.head])
        request = decode_request(memory.head)
        if request.type == Command.DISC:
            return None
        data = memory.data(_data_size(request))
        if request.type == Command.WRITE:
            stream.receive_into(self._socket, [data])
        return Exchange(request, data)

    def _send(self, reply: Reply) -> None:
        with self._sending:
            stream.send(self._socket, reply)
            self._replied += 1

    def _have_a_receiver(self) -> None:
        """Start one more worker when all are busy; called by the one that receives."""
        workers = 1 + len(self._workers)
        if self._received - self._replied >= workers and workers < WORKERS:
            worker = threading.Thread(target=self._work, name="nbd-worker", daemon=True)
            self._workers.append(worker)
            worker.start()


def _data_size(request: Request) -> int:
    """Bytes that a request needs for its data; ProtocolError where nobody may ask for as many."""
    if request.type == Command.WRITE and request.length > MAX_PAYLOAD:
        raise ProtocolError(f"a write of {request.length} bytes, {MAX_PAYLOAD} at most")
    if request.type in (Command.READ, Command.WRITE):
        return min(request.length, MAX_PAYLOAD)
    allocating = request.type == Command.WRITE_ZEROES and request.flags & CommandFlag.NO_HOLE
    if allocating or request.type == Command.CACHE:
        return min(request.length, _KEPT)
    return 0
