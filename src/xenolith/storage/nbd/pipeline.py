"""Requests of many threads on one NBD connection, and the replies that find their way back.

Whoever waits for a reply while nobody receives becomes the receiver: it receives everybody's
replies until its own has come, then wakes one of the others to go on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Sequence

from xenolith.storage.nbd import protocol, stream
from xenolith.storage.nbd.client_handshake import Agreement
from xenolith.storage.nbd.constants import CHUNK_DONE, CHUNK_ERROR, Chunk, Command, NbdError
from xenolith.storage.nbd.protocol import (
    CHUNK_REST_SIZE,
    HOLE_SIZE,
    MAX_ERROR_PAYLOAD,
    MAX_STATUS_PAYLOAD,
    OFFSET_SIZE,
    REPLY_SIZE,
    Descriptor,
    ProtocolError,
    ReplyChunk,
    Request,
)
from xenolith.storage.vector import Cutter, fill_zeroes, total

_ERRNOS: dict[int, int] = {
    NbdError.EPERM: errno.EROFS,
    NbdError.ENOMEM: errno.ENOMEM,
    NbdError.EINVAL: errno.EINVAL,
    NbdError.ENOSPC: errno.ENOSPC,
    NbdError.ENOTSUP: errno.EOPNOTSUPP,
}


class ServerGone(OSError):  # noqa: N818 - what has happened
    """The server has closed the connection, or broken the protocol; nothing more will come."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(errno.EIO, f"the NBD server is gone ({why})", name)


class _Call:
    """One request under way; the memory that its reply fills is its caller's."""

    def __init__(self, request: Request, buffers: Sequence[memoryview]) -> None:
        self.request = request
        self.buffers = buffers
        """Memory for the data that is to come; empty where none is."""
        self.missing = total(buffers)
        self.descriptors: list[Descriptor] = []
        self.failure: OSError | None = None
        self.waiting = False
        self.done = False
        self.turn = threading.Lock()
        """Released once the call is done, and before that when its caller is to receive."""
        self.turn.acquire()

    def part(self, offset: int, length: int) -> list[memoryview]:
        """The memory of a range that the server names; ProtocolError where it was not asked for."""
        start = offset - self.request.offset
        if not 0 < length <= self.missing or not 0 <= start <= total(self.buffers) - length:
            raise ProtocolError(f"{length} bytes at {offset}, which were not asked for")
        self.missing -= length
        cutter = Cutter(self.buffers)
        cutter.take(start)
        return cutter.take(length)


class Pipeline:
    """The transmission phase of a client; its methods may be called by several threads at once."""

    def __init__(self, sock: socket.socket, name: str, agreement: Agreement) -> None:
        self._socket = sock
        self._name = name
        self._agreement = agreement
        self._head = memoryview(bytearray(REPLY_SIZE + CHUNK_REST_SIZE))
        self._sending = threading.Lock()
        self._state = threading.Lock()
        """Guards what follows, and is never held while anything is sent or received."""
        self._calls: dict[int, _Call] = {}
        self._last_cookie = 0
        self._receiver: _Call | None = None
        self._gone: str | None = None

    def read(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill buffers from ``offset``; OSError."""
        self._finish(self._start(Command.READ, offset, total(buffers), buffers=buffers))

    def call(
        self, command: Command, offset: int, length: int, data: Sequence[memoryview] = ()
    ) -> None:
        """Do what has no data in its reply; OSError."""
        self._finish(self._start(command, offset, length, data=data))

    def block_status(self, offset: int, length: int) -> list[Descriptor]:
        """The first extents of a range; OSError."""
        call = self._start(Command.BLOCK_STATUS, offset, length)
        self._finish(call)
        return call.descriptors

    def close(self) -> None:
        """Take leave of the server and close the socket; calls under way fail."""
        if self._sending.acquire(blocking=False):
            leave = protocol.encode_request(Request(0, Command.DISC, 0, 0, 0))
            with contextlib.suppress(OSError):
                self._socket.send(leave, socket.MSG_DONTWAIT)
            self._sending.release()
        self._give_up("the image was closed")
        self._socket.close()

    def _start(
        self,
        command: Command,
        offset: int,
        length: int,
        data: Sequence[memoryview] = (),
        buffers: Sequence[memoryview] = (),
    ) -> _Call:
        """Send a request; a failure to do so becomes that of the call."""
        with self._state:
            if self._gone is not None:
                raise ServerGone(self._name, self._gone)
            self._last_cookie += 1
            call = _Call(Request(0, command, self._last_cookie, offset, length), buffers)
            self._calls[self._last_cookie] = call
        try:
            with self._sending:
                stream.send(self._socket, [protocol.encode_request(call.request), *data])
        except OSError as error:
            self._give_up(str(error))
        except BaseException:
            # What follows half a request would be taken for its other half.
            self._give_up("a request was interrupted")
            raise
        return call

    def _finish(self, call: _Call) -> None:
        """Return once the reply has come, having received it or not; OSError if it is an error."""
        with self._state:
            if self._receiver is None and not call.done:
                self._receiver = call
            call.waiting = self._receiver is not call
        try:
            if call.waiting:
                call.turn.acquire()
            if not call.done:
                self._receive_until(call)
        except BaseException:
            with self._state:
                if self._receiver is call:
                    self._receiver = None
            # The reply would be received into memory that is no longer the caller's to lend.
            self._give_up("a call was interrupted")
            raise
        if call.failure is not None:
            raise call.failure

    def _receive_until(self, call: _Call) -> None:
        """Receive replies until that of ``call`` has come, then have another caller do so."""
        failure: str | None = "a reply was interrupted"
        try:
            while not call.done:
                self._receive()
            failure = None
        except (OSError, ProtocolError) as error:
            failure = str(error)
        finally:
            with self._state:
                self._receiver = None
                if failure is None:
                    waiting = (other for other in self._calls.values() if other.waiting)
                    self._receiver = next(waiting, None)
                if self._receiver is not None:
                    self._receiver.turn.release()
            if failure is not None:
                self._give_up(failure)

    def _give_up(self, why: str) -> None:
        """Fail all calls, unless somebody receives: who does finds the end of the stream."""
        with self._state:
            self._gone = self._gone or why
            lost = list(self._calls.values()) if self._receiver is None else []
            if lost:
                self._calls = {}
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for call in lost:
            call.failure = ServerGone(self._name, self._gone)
            call.done = True
            call.turn.release()

    def _receive(self) -> None:
        """Receive one reply, or one chunk of one."""
        stream.receive_into(self._socket, [self._head[:REPLY_SIZE]])
        if protocol.is_chunk(self._head):
            stream.receive_into(self._socket, [self._head[REPLY_SIZE:]])
            chunk = protocol.decode_chunk(self._head)
            call = self._call_of(chunk.cookie)
            self._receive_chunk(chunk, call)
            if not chunk.flags & CHUNK_DONE:
                return
        else:
            reply = protocol.decode_reply(self._head[:REPLY_SIZE])
            call = self._call_of(reply.cookie)
            if reply.error:
                self._fail(call, reply.error, "")
            elif call.buffers:
                if self._agreement.structured:
                    raise ProtocolError("data without structure")
                stream.receive_into(self._socket, call.buffers)
                call.missing = 0
        if call.failure is None:
            _check_complete(call)
        with self._state:
            del self._calls[call.request.cookie]
            call.done = True
        call.turn.release()

    def _call_of(self, cookie: int) -> _Call:
        call = self._calls.get(cookie)
        if call is None:
            raise ProtocolError("a reply to nothing")
        return call

    def _receive_chunk(self, chunk: ReplyChunk, call: _Call) -> None:
        if chunk.type == Chunk.OFFSET_DATA:
            offset = protocol.decode_offset(self._payload(OFFSET_SIZE))
            parts = call.part(offset, chunk.length - OFFSET_SIZE)
            stream.receive_into(self._socket, parts)
        elif chunk.type == Chunk.OFFSET_HOLE and chunk.length == HOLE_SIZE:
            fill_zeroes(call.part(*protocol.decode_hole(self._payload(HOLE_SIZE))))
        elif chunk.type == Chunk.BLOCK_STATUS and chunk.length <= MAX_STATUS_PAYLOAD:
            context, descriptors = protocol.decode_status(self._payload(chunk.length))
            if context == self._agreement.allocation_context:
                call.descriptors = descriptors
        elif chunk.type & CHUNK_ERROR and chunk.length <= MAX_ERROR_PAYLOAD:
            self._fail(call, *protocol.decode_error(self._payload(chunk.length)))
        elif chunk.type != Chunk.NONE or chunk.length:
            raise ProtocolError(f"a chunk of type {chunk.type} and {chunk.length} bytes")

    def _payload(self, length: int) -> bytes:
        return stream.receive_exactly(self._socket, length)

    def _fail(self, call: _Call, error: int, message: str) -> None:
        """Note why a call fails: numbers that NBD does not have are input and output errors."""
        if error == NbdError.ESHUTDOWN:
            call.failure = ServerGone(self._name, "it is about to end")
            return
        number = _ERRNOS.get(error, errno.EIO)
        call.failure = OSError(number, message or os.strerror(number), self._name)


def _check_complete(call: _Call) -> None:
    """Whether a reply without an error has said all that was asked."""
    if call.missing:
        raise ProtocolError(f"a reply that lacks {call.missing} bytes")
    status = call.request.type == Command.BLOCK_STATUS
    if status and not any(descriptor.length for descriptor in call.descriptors):
        raise ProtocolError("a block status that tells of nothing")
