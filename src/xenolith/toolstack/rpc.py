"""Messages between xl, daemon, zygote and domain processes: JSON-RPC 2.0 over unix stream sockets.

A message is one JSON object on one line. Descriptors travel with it by SCM_RIGHTS (unix(7)), and
its member ``fds`` says how many, which is all that this adds to JSON-RPC.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_MESSAGE = 1 << 20
"""Bytes of one message, newline included; a longer one ends the connection."""

MAX_FDS = 128
"""Descriptors of one message, and of all messages that have not wholly arrived."""

CHUNK = 1 << 16

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000
"""Error codes of JSON-RPC 2.0; the last is ours for every sentence meant for the user."""

Body = dict[str, Any]


class ProtocolError(Exception):
    """The peer broke the protocol; the connection cannot go on."""


class RemoteError(Exception):
    """The peer answered with an error; the message is its sentence."""


class Message(NamedTuple):
    """One JSON object and the descriptors that came with it, which its receiver must close."""

    body: Body
    fds: list[int]


def encode(body: Body, fds: int = 0) -> bytes:
    """The bytes of one message that goes with ``fds`` descriptors."""
    if fds:
        body = {**body, "fds": fds}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def request(number: int, method: str, params: Body) -> Body:
    """A request, answered by a message with the same number."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, params: Body) -> Body:
    """A request that nobody answers."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def response(number: int, result: Any) -> Body:
    """The answer to a request that succeeded."""
    return {"jsonrpc": "2.0", "id": number, "result": result}


def failure(number: int, sentence: str, code: int = SERVER_ERROR) -> Body:
    """The answer to a request that failed."""
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": sentence}}


def result_of(body: Body) -> Any:
    """The result in a response; RemoteError if it holds an error, ProtocolError if neither."""
    error = body.get("error")
    if isinstance(error, dict):
        raise RemoteError(str(error.get("message", "unknown error")))
    if "result" not in body:
        raise ProtocolError("a response with neither result nor error")
    return body["result"]


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


class Decoder:
    """Cuts a stream of bytes and descriptors into messages; does no input or output itself.

    A message with more than ``max_fds`` descriptors breaks the protocol.
    """

    def __init__(self, max_message: int = MAX_MESSAGE, max_fds: int = MAX_FDS) -> None:
        self._max_message = max_message
        self._max_fds = max_fds
        self._buffer = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: Sequence[int] = ()) -> list[Message]:
        """The messages that ``data`` completes; owns ``fds`` from now on.

        On ProtocolError every descriptor not yet handed out has been closed.
        """
        self._fds += fds
        messages: list[Message] = []
        try:
            searched = len(self._buffer)
            self._buffer += data
            while (end := self._buffer.find(b"\n", searched)) >= 0:
                messages.append(self._message(bytes(self._buffer[:end])))
                del self._buffer[: end + 1]
                searched = 0
            if len(self._buffer) >= self._max_message:
                raise ProtocolError("a message is too long")
            if len(self._fds) > self._max_fds:
                raise ProtocolError("descriptors without a message")
        except ProtocolError:
            for message in messages:
                close_all(message.fds)
            self.close()
            raise
        return messages

    def close(self) -> None:
        """Close the descriptors whose message never came."""
        close_all(self._fds)
        self._fds.clear()

    def _message(self, line: bytes) -> Message:
        if len(line) >= self._max_message:
            raise ProtocolError("a message is too long")
        try:
            body = json.loads(line)
        except (ValueError, RecursionError):
            raise ProtocolError("a message is not JSON") from None
        if not isinstance(body, dict):
            raise ProtocolError("a message is not an object")
        count = body.pop("fds", 0)
        if type(count) is not int or not 0 <= count <= min(self._max_fds, len(self._fds)):
            raise ProtocolError("a message's descriptors are missing, or not wanted")
        fds, self._fds = self._fds[:count], self._fds[count:]
        return Message(body, fds)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Whatever bytes and descriptors are there; no bytes at the end of the stream."""
    data, fds, flags, _ = socket.recv_fds(sock, CHUNK, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if flags & socket.MSG_CTRUNC:
        close_all(fds)
        raise ProtocolError("too many descriptors at once")
    return data, fds


def check_peer(sock: socket.socket) -> None:
    """ProtocolError unless the peer runs as this process's user (SO_PEERCRED) or as root."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    # struct ucred: pid, uid, gid, each of 32 bits.
    uid = int.from_bytes(credentials[4:8], "little")
    if uid not in (0, os.getuid()):
        raise ProtocolError("the peer belongs to another user")


class Connection:
    """A blocking connection that makes one call at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = Decoder()
        self._calls = 0

    @classmethod
    def connect(cls, path: str) -> Connection:
        """Connect to a listening socket; OSError if nobody listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
            check_peer(sock)
        except (OSError, ProtocolError):
            sock.close()
            raise
        return cls(sock)

    def call(self, method: str, params: Body, fds: Sequence[int] = ()) -> tuple[Any, list[int]]:
        """Make a call; return its result and the descriptors that came with it.

        Raises RemoteError, ProtocolError or OSError.
        """
        self.begin(method, params, fds)
        return self.finish()

    def begin(self, method: str, params: Body, fds: Sequence[int] = ()) -> None:
        """Make a call whose result :meth:`finish` will wait for; OSError."""
        self._calls += 1
        self._send(encode(request(self._calls, method, params), len(fds)), fds)

    def finish(self) -> tuple[Any, list[int]]:
        """The result of the call that was begun, as :meth:`call` returns it."""
        while True:
            data, received = receive(self._socket)
            if not data:
                raise ProtocolError("the connection was closed")
            for body, answered in self._decoder.feed(data, received):
                if body.get("id") != self._calls:
                    close_all(answered)
                    raise ProtocolError("an answer to no question")
                return result_of(body), answered

    def close(self) -> None:
        """Close the connection."""
        self._decoder.close()
        self._socket.close()

    def _send(self, data: bytes, fds: Sequence[int]) -> None:
        sent = socket.send_fds(self._socket, [data], list(fds)) if fds else 0
        self._socket.sendall(data[sent:])
