"""A blocking client of xenstored's socket, for command-line tools and tests.

Speaks docs/misc/xenstore.txt as a program of domain 0, one request at a time.
"""

from __future__ import annotations

import socket
from collections import deque

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import MessageType
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.protocol import Message, MessageParser, encode, strings

_READ_SIZE = 16384


class Client:
    """A connection. Methods raise XenstoreError for ERROR replies, OSError for lost connections."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parser = MessageParser()
        self._received: deque[Message] = deque()
        self._events: deque[tuple[bytes, bytes]] = deque()
        self._request_id = 0

    @classmethod
    def connect(cls, path: str) -> Client:
        """Connect to the server that listens at ``path``; OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def close(self) -> None:
        """End the connection, its watches and its transactions."""
        self._sock.close()

    def request(self, kind: int, payload: bytes, transaction: int = 0) -> bytes:
        """Send any request and return the payload of its reply."""
        self._request_id += 1
        self._sock.sendall(encode(kind, self._request_id, transaction, payload))
        while True:
            message = self._receive()
            if message.type == MessageType.WATCH_EVENT:
                self._note_event(message)
            elif message.type == MessageType.ERROR:
                raise XenstoreError(_errno(message.payload))
            else:
                return message.payload

    def read(self, path: str, transaction: int = 0) -> bytes:
        """The value of a node."""
        return self.request(MessageType.READ, _string(path), transaction)

    def write(self, path: str, value: bytes, transaction: int = 0) -> None:
        """Set the value of a node, created with its parents if need be."""
        self.request(MessageType.WRITE, _string(path) + value, transaction)

    def rm(self, path: str, transaction: int = 0) -> None:
        """Remove a node and all below it."""
        self.request(MessageType.RM, _string(path), transaction)

    def directory(self, path: str, transaction: int = 0) -> list[str]:
        """The names of a node's children, however many they are."""
        try:
            names = self.request(MessageType.DIRECTORY, _string(path), transaction)
        except XenstoreError as error:
            if error.errno != Errno.E2BIG:
                raise
            names = self._directory_in_parts(path, transaction)
        return [name.decode() for name in strings(names)]

    def get_permissions(self, path: str, transaction: int = 0) -> list[str]:
        """The permissions of a node as on the wire: "n0", "r5"."""
        reply = self.request(MessageType.GET_PERMS, _string(path), transaction)
        return [entry.decode() for entry in strings(reply)]

    def set_permissions(self, path: str, permissions: list[str], transaction: int = 0) -> None:
        """Replace the permissions of a node."""
        payload = b"".join(map(_string, [path, *permissions]))
        self.request(MessageType.SET_PERMS, payload, transaction)

    def start_transaction(self) -> int:
        """Begin a transaction and return its id."""
        return int(self.request(MessageType.TRANSACTION_START, b"\0")[:-1])

    def commit(self, transaction: int) -> None:
        """End a transaction with its changes; EAGAIN if it has to be repeated."""
        self.request(MessageType.TRANSACTION_END, b"T\0", transaction)

    def abandon(self, transaction: int) -> None:
        """End a transaction without its changes."""
        self.request(MessageType.TRANSACTION_END, b"F\0", transaction)

    def watch(self, path: str, token: str, depth: int | None = None) -> None:
        """Have events of a path and all below it sent, with ``token`` to tell them by."""
        options = [] if depth is None else [str(depth)]
        self.request(MessageType.WATCH, b"".join(map(_string, [path, token, *options])))

    def next_event(self) -> tuple[bytes, bytes]:
        """Wait for an event; return its path and token."""
        while not self._events:
            self._note_event(self._receive())
        return self._events.popleft()

    def _directory_in_parts(self, path: str, transaction: int) -> bytes:
        names, expected = b"", b""
        while True:
            query = _string(path) + _string(str(len(names)))
            reply = self.request(MessageType.DIRECTORY_PART, query, transaction)
            generation, _, part = reply.partition(b"\0")
            if names and generation != expected:
                names = b""
                continue
            expected = generation
            names += part
            if names == b"\0" or names.endswith(b"\0\0"):
                return names[:-1]

    def _receive(self) -> Message:
        while not self._received:
            data = self._sock.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError("xenstored closed the connection")
            self._received.extend(self._parser.feed(data))
        return self._received.popleft()

    def _note_event(self, message: Message) -> None:
        path, token, *_ = strings(message.payload)
        self._events.append((path, token))


def _string(text: str) -> bytes:
    # Arguments of programs that are no text come as surrogates; the server judges them.
    return text.encode("utf-8", "surrogateescape") + b"\0"


def _errno(payload: bytes) -> Errno:
    name = payload.rstrip(b"\0").decode("ascii", "replace")
    return Errno[name] if name in Errno.__members__ else Errno.EINVAL
