"""Xenstore's messages as bytes and back, without any input or output.

Follows docs/misc/xenstore.txt and public/io/xs_wire.h: a 16-byte header, then the payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import SOCKMSG, WIRE_ERRORS, XENSTORE_PAYLOAD_MAX, MessageType, SockMsg

HEADER_SIZE = SOCKMSG.size

OK = b"OK\0"
"""The payload of a reply that has nothing else to say."""


class ProtocolError(Exception):
    """The peer broke the framing; nothing after it on the connection can be understood."""


class Message(NamedTuple):
    """One message; ``type`` is a plain number because a peer may send any."""

    type: int
    request_id: int
    transaction_id: int
    payload: bytes


class MessageParser:
    """Cuts a stream of bytes, however it is fragmented, into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes.

        ProtocolError once a header announces more than XENSTORE_PAYLOAD_MAX bytes; the messages
        before it are yielded first. Exhaust the iterator before feeding again.
        """
        stream = self._rest + data
        start, end = 0, len(stream)
        while end - start >= HEADER_SIZE:
            kind, request_id, transaction_id, length = SOCKMSG.unpack(stream, start)
            if length > XENSTORE_PAYLOAD_MAX:
                raise ProtocolError(f"a payload of {length} bytes, {XENSTORE_PAYLOAD_MAX} at most")
            body = start + HEADER_SIZE
            if end - body < length:
                break
            start = body + length
            yield Message(kind, request_id, transaction_id, stream[body:start])
        self._rest = stream[start:]


def encode(kind: int, request_id: int, transaction_id: int, payload: bytes) -> bytes:
    """The bytes of one message."""
    return SOCKMSG.pack(SockMsg(kind, request_id, transaction_id, len(payload))) + payload


def encode_event(path: str, token: bytes) -> bytes:
    """The bytes of a WATCH_EVENT; path and token together must fit into a payload."""
    return encode(MessageType.WATCH_EVENT, 0, 0, b"%b\0%b\0" % (path.encode("ascii"), token))


def error_payload(errno: Errno) -> bytes:
    """The payload of an ERROR reply; errors without a name on the wire become EINVAL."""
    return (errno if errno in WIRE_ERRORS else Errno.EINVAL).name.encode("ascii") + b"\0"


def strings(payload: bytes) -> list[bytes]:
    """The NUL-terminated strings of a payload; what follows the last NUL is not one."""
    return payload.split(b"\0")[:-1]
