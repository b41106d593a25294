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
from xenolith.storage.nbd.commands import Commands, Exchange
from xenolith.storage.nbd.constants import MAX_PAYLOAD, Command, CommandFlag
from xenolith.storage.nbd.protocol import REQUEST_SIZE, ProtocolError, Request, decode_request

WORKERS = 8
"""Requests of a connection that are executed at once."""
_KEPT_BUFFER = 4 << 20
"""Bytes that a worker keeps for its next request."""


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
        head = memoryview(bytearray(REQUEST_SIZE))
        buffer = bytearray()
        try:
            while True:
                with self._receiving:
                    if self._ended:
                        return
                    stream.receive_into(self._socket, [head])
                    request = decode_request(head)
                    if request.type == Command.DISC:
                        # Not shut down: the replies to what is under way are still to be sent.
                        self._ended = True
                        return
                    if len(buffer) < _buffer_size(request):
                        buffer = bytearray(_buffer_size(request))
                    data = memoryview(buffer)[: _buffer_size(request)]
                    if request.type == Command.WRITE:
                        stream.receive_into(self._socket, [data])
                    self._received += 1
                    self._have_a_receiver()
                reply = self._commands.execute(Exchange(request, data))
                with self._sending:
                    stream.send(self._socket, reply)
                    self._replied += 1
                del data, reply
                if len(buffer) > _KEPT_BUFFER:
                    buffer = bytearray()
        except (OSError, ProtocolError):
            # The client is gone, or nobody knows what its next byte means.
            self.end()
        except BaseException:
            self.end()
            raise

    def _have_a_receiver(self) -> None:
        """Start one more worker when all are busy; called by the one that receives."""
        workers = 1 + len(self._workers)
        if self._received - self._replied >= workers and workers < WORKERS:
            worker = threading.Thread(target=self._work, name="nbd-worker", daemon=True)
            self._workers.append(worker)
            worker.start()


def _buffer_size(request: Request) -> int:
    """Bytes that a request needs for its data; ProtocolError where nobody may ask for as many."""
    if request.type == Command.WRITE and request.length > MAX_PAYLOAD:
        raise ProtocolError(f"a write of {request.length} bytes, {MAX_PAYLOAD} at most")
    if request.type in (Command.READ, Command.WRITE):
        return min(request.length, MAX_PAYLOAD)
    allocating = request.type == Command.WRITE_ZEROES and request.flags & CommandFlag.NO_HOLE
    if allocating or request.type == Command.CACHE:
        return min(request.length, _KEPT_BUFFER)
    return 0
