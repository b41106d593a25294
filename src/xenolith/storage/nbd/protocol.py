"""The messages of NBD's transmission phase as bytes and back, without any input or output.

Follows doc/proto.md of the NBD project; those of the handshake are in options.py. All numbers are
big-endian; lengths that a peer announces are checked before anything of that length is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from xenolith.storage.nbd.constants import (
    CHUNK_DONE,
    MAX_STRING,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
)

_REQUEST = struct.Struct(">IHHQQI")
_SIMPLE_REPLY = struct.Struct(">IIQ")
_CHUNK = struct.Struct(">IHHQI")
_CHUNK_REST = struct.Struct(">I")
_OFFSET = struct.Struct(">Q")
_HOLE = struct.Struct(">QI")
_ERROR = struct.Struct(">IH")
_MAGIC = struct.Struct(">I")

REQUEST_SIZE = _REQUEST.size
REPLY_SIZE = _SIMPLE_REPLY.size
"""Bytes of a reply's head that say which kind it is; a chunk's has CHUNK_REST_SIZE more."""
CHUNK_REST_SIZE = _CHUNK_REST.size
OFFSET_SIZE = _OFFSET.size
HOLE_SIZE = _HOLE.size

MAX_ERROR_PAYLOAD = _ERROR.size + MAX_STRING + OFFSET_SIZE
MAX_DESCRIPTORS = 8192
"""Extents in one reply to NBD_CMD_BLOCK_STATUS of ours."""
MAX_STATUS_PAYLOAD = 4 + (8 << 20)
"""Bytes of such a reply that are accepted: the 2^20 extents that servers send at most."""


class ProtocolError(Exception):
    """The peer broke the protocol; nothing after it on the connection can be understood."""


class Request(NamedTuple):
    """A command; ``type`` is whatever the client sent."""

    flags: int
    type: int
    cookie: int
    offset: int
    length: int


class Reply(NamedTuple):
    """The head of a simple reply."""

    cookie: int
    error: int


class ReplyChunk(NamedTuple):
    """The head of a chunk of a structured reply."""

    flags: int
    type: int
    cookie: int
    length: int


class Descriptor(NamedTuple):
    """A range of the reply to NBD_CMD_BLOCK_STATUS; ``state`` is of :class:`State`."""

    length: int
    state: int


def encode_request(request: Request) -> bytes:
    """The head of a command; the data of NBD_CMD_WRITE follows it."""
    return _REQUEST.pack(REQUEST_MAGIC, *request)


def decode_request(data: bytes | bytearray | memoryview) -> Request:
    """The head of a command."""
    magic, *fields = _REQUEST.unpack(data)
    if magic != REQUEST_MAGIC:
        raise ProtocolError("a request without its magic number")
    return Request(*fields)


def encode_reply(cookie: int, error: int = 0) -> bytes:
    """A simple reply; the data of NBD_CMD_READ follows it."""
    return _SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, cookie)


def encode_chunk(kind: Chunk, cookie: int, length: int, flags: int = 0) -> bytes:
    """The head of a chunk whose payload has ``length`` bytes."""
    return _CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, kind, cookie, length)


def encode_data_chunk(cookie: int, offset: int, length: int, flags: int = 0) -> bytes:
    """What precedes ``length`` bytes of data."""
    head = encode_chunk(Chunk.OFFSET_DATA, cookie, OFFSET_SIZE + length, flags)
    return head + _OFFSET.pack(offset)


def encode_hole_chunk(cookie: int, offset: int, length: int, flags: int = 0) -> bytes:
    """A range of zeroes."""
    return encode_chunk(Chunk.OFFSET_HOLE, cookie, HOLE_SIZE, flags) + _HOLE.pack(offset, length)


def encode_error_chunk(cookie: int, error: int, message: str) -> bytes:
    """The only chunk of a reply to a request that failed."""
    text = message.encode()[:MAX_STRING]
    head = encode_chunk(Chunk.ERROR, cookie, _ERROR.size + len(text), CHUNK_DONE)
    return head + _ERROR.pack(error, len(text)) + text


def encode_status_chunk(cookie: int, context: int, descriptors: Iterable[Descriptor]) -> bytes:
    """The only chunk of a reply to NBD_CMD_BLOCK_STATUS for one context."""
    numbers = [number for descriptor in descriptors for number in descriptor]
    payload = struct.pack(f">I{len(numbers)}I", context, *numbers)
    return encode_chunk(Chunk.BLOCK_STATUS, cookie, len(payload), CHUNK_DONE) + payload


def is_chunk(head: bytes | bytearray | memoryview) -> bool:
    """Whether the first REPLY_SIZE bytes of a reply are those of a chunk."""
    (magic,) = _MAGIC.unpack_from(head)
    if magic not in (SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC):
        raise ProtocolError("a reply without its magic number")
    return bool(magic == STRUCTURED_REPLY_MAGIC)


def decode_reply(head: bytes | bytearray | memoryview) -> Reply:
    """A simple reply."""
    _, error, cookie = _SIMPLE_REPLY.unpack(head)
    return Reply(cookie, error)


def decode_chunk(head: bytes | bytearray | memoryview) -> ReplyChunk:
    """The head of a chunk, all REPLY_SIZE + CHUNK_REST_SIZE bytes of it."""
    _, *fields = _CHUNK.unpack(head)
    return ReplyChunk(*fields)


def decode_offset(data: bytes) -> int:
    """Where the data of a chunk OFFSET_DATA belongs."""
    return int(_OFFSET.unpack(data)[0])


def decode_hole(data: bytes) -> tuple[int, int]:
    """Offset and length of a chunk OFFSET_HOLE."""
    offset, length = _HOLE.unpack(data)
    return offset, length


def decode_error(data: bytes) -> tuple[int, str]:
    """Number and message of a chunk that is an error."""
    if len(data) < _ERROR.size:
        raise ProtocolError("an error without a number")
    error, length = _ERROR.unpack_from(data)
    if length > len(data) - _ERROR.size:
        raise ProtocolError("an error whose message does not fit into it")
    return error, bytes(data[_ERROR.size : _ERROR.size + length]).decode(errors="replace")


def decode_status(data: bytes) -> tuple[int, list[Descriptor]]:
    """The context of a chunk BLOCK_STATUS and its descriptors."""
    if len(data) % 8 != 4 or len(data) < 12:
        raise ProtocolError(f"a block status of {len(data)} bytes")
    context, *numbers = struct.unpack(f">{len(data) // 4}I", data)
    return context, list(map(Descriptor, numbers[::2], numbers[1::2]))
