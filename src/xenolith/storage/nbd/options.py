"""The messages of NBD's handshake as bytes and back, without any input or output.

Follows doc/proto.md of the NBD project. All numbers are big-endian; lengths that a peer announces
are checked before anything of that length is read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from xenolith.storage.nbd.constants import (
    INIT_MAGIC,
    MAX_STRING,
    OPTION_MAGIC,
    OPTION_REPLY_MAGIC,
    Info,
    Option,
    OptionReply,
    TransmissionFlag,
)
from xenolith.storage.nbd.protocol import ProtocolError

_GREETING = struct.Struct(">QQH")
_CLIENT_FLAGS = struct.Struct(">I")
_OPTION = struct.Struct(">QII")
_OPTION_REPLY = struct.Struct(">QIII")
_EXPORT_NAME_REPLY = struct.Struct(">QH")
_INFO_EXPORT = struct.Struct(">HQH")
_INFO_BLOCK_SIZE = struct.Struct(">HIII")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")

GREETING_SIZE = _GREETING.size
CLIENT_FLAGS_SIZE = _CLIENT_FLAGS.size
OPTION_SIZE = _OPTION.size
OPTION_REPLY_SIZE = _OPTION_REPLY.size
EXPORT_NAME_REPLY_SIZE = _EXPORT_NAME_REPLY.size
RESERVED_SIZE = 124
"""Zeroes after the reply to NBD_OPT_EXPORT_NAME, unless both sides do without."""

MAX_OPTION = 64 << 10
"""Bytes of an option's or an option reply's data that are accepted."""


class OptionRequest(NamedTuple):
    """The head of an option; ``option`` is a plain number because a client may send any."""

    option: int
    length: int


class OptionAnswer(NamedTuple):
    """The head of a reply to an option."""

    option: int
    kind: int
    length: int


class BlockSizes(NamedTuple):
    """The sizes of requests that an export wants, in bytes."""

    minimum: int
    preferred: int
    maximum: int


class ExportInfo(NamedTuple):
    """What a server tells of an export before it is used."""

    size: int
    flags: TransmissionFlag


class MetaContextQuery(NamedTuple):
    """The contexts of an export that a client wants; without queries, to list them, all."""

    export: str
    queries: list[str]


def encode_greeting(flags: int) -> bytes:
    """The server's first bytes."""
    return _GREETING.pack(INIT_MAGIC, OPTION_MAGIC, flags)


def decode_greeting(data: bytes) -> int:
    """The handshake flags of a server; ProtocolError if it speaks something else."""
    magic, style, flags = _GREETING.unpack(data)
    if magic != INIT_MAGIC:
        raise ProtocolError("the peer is no NBD server")
    if style != OPTION_MAGIC:
        raise ProtocolError("the server speaks oldstyle NBD, which knows no exports")
    return int(flags)


def encode_client_flags(flags: int) -> bytes:
    """The client's answer to the greeting."""
    return _CLIENT_FLAGS.pack(flags)


def decode_client_flags(data: bytes) -> int:
    """The flags of a client."""
    return int(_CLIENT_FLAGS.unpack(data)[0])


def encode_option(option: Option, data: bytes = b"") -> bytes:
    """An option and its data."""
    return _OPTION.pack(OPTION_MAGIC, option, len(data)) + data


def decode_option(data: bytes) -> OptionRequest:
    """The head of an option."""
    magic, option, length = _OPTION.unpack(data)
    if magic != OPTION_MAGIC:
        raise ProtocolError("an option without its magic number")
    if length > MAX_OPTION:
        raise ProtocolError(f"an option of {length} bytes, {MAX_OPTION} at most")
    return OptionRequest(option, length)


def encode_option_reply(option: int, kind: OptionReply, data: bytes = b"") -> bytes:
    """A reply to an option and its data."""
    return _OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def decode_option_reply(data: bytes) -> OptionAnswer:
    """The head of a reply to an option."""
    magic, option, kind, length = _OPTION_REPLY.unpack(data)
    if magic != OPTION_REPLY_MAGIC:
        raise ProtocolError("a reply to an option without its magic number")
    if length > MAX_OPTION:
        raise ProtocolError(f"a reply of {length} bytes to an option, {MAX_OPTION} at most")
    return OptionAnswer(option, kind, length)


def encode_export_name_reply(info: ExportInfo) -> bytes:
    """The reply to NBD_OPT_EXPORT_NAME, without the reserved zeroes."""
    return _EXPORT_NAME_REPLY.pack(*info)


def decode_export_name_reply(data: bytes) -> ExportInfo:
    """The reply to NBD_OPT_EXPORT_NAME."""
    size, flags = _EXPORT_NAME_REPLY.unpack(data)
    return ExportInfo(size, TransmissionFlag(flags))


def encode_go(export: str, wanted: Sequence[Info]) -> bytes:
    """The data of NBD_OPT_GO and NBD_OPT_INFO."""
    numbers = b"".join(_U16.pack(info) for info in wanted)
    return _string(export) + _U16.pack(len(wanted)) + numbers


def decode_go(data: bytes) -> tuple[str, set[int]]:
    """The export that a client means, and the infos that it wants."""
    reader = _Reader(data)
    name = reader.string()
    wanted = {reader.number(_U16) for _ in range(reader.number(_U16))}
    reader.finish()
    return name, wanted


def encode_info_export(info: ExportInfo) -> bytes:
    """NBD_INFO_EXPORT."""
    return _INFO_EXPORT.pack(Info.EXPORT, *info)


def encode_info_text(kind: Info, text: str) -> bytes:
    """NBD_INFO_NAME, NBD_INFO_DESCRIPTION."""
    return _U16.pack(kind) + text.encode()


def encode_info_block_size(sizes: BlockSizes) -> bytes:
    """NBD_INFO_BLOCK_SIZE."""
    return _INFO_BLOCK_SIZE.pack(Info.BLOCK_SIZE, *sizes)


def decode_info(data: bytes) -> ExportInfo | BlockSizes | None:
    """An info of an export; None for one that a client can do without."""
    if len(data) < _U16.size:
        raise ProtocolError("an info without a kind")
    (kind,) = _U16.unpack_from(data)
    if kind == Info.EXPORT and len(data) == _INFO_EXPORT.size:
        _, size, flags = _INFO_EXPORT.unpack(data)
        return ExportInfo(size, TransmissionFlag(flags))
    if kind == Info.BLOCK_SIZE and len(data) == _INFO_BLOCK_SIZE.size:
        return BlockSizes(*_INFO_BLOCK_SIZE.unpack(data)[1:])
    if kind in (Info.EXPORT, Info.BLOCK_SIZE):
        raise ProtocolError(f"an info {Info(kind).name} of {len(data)} bytes")
    return None


def encode_server(export: str, description: str) -> bytes:
    """NBD_REP_SERVER: an export in a list."""
    return _string(export) + description.encode()


def encode_meta_context_query(export: str, queries: Sequence[str]) -> bytes:
    """The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT."""
    return _string(export) + _U32.pack(len(queries)) + b"".join(map(_string, queries))


def decode_meta_context_query(data: bytes) -> MetaContextQuery:
    """The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT."""
    reader = _Reader(data)
    export = reader.string()
    # Each query takes bytes, so what is missing ends this long before an absurd number does.
    queries = [reader.string() for _ in range(reader.number(_U32))]
    reader.finish()
    return MetaContextQuery(export, queries)


def encode_meta_context(number: int, name: str) -> bytes:
    """NBD_REP_META_CONTEXT."""
    return _U32.pack(number) + name.encode()


def decode_meta_context(data: bytes) -> tuple[int, str]:
    """The number and the name of a context that the server has selected."""
    if len(data) < _U32.size:
        raise ProtocolError("a metadata context without a number")
    return int(_U32.unpack_from(data)[0]), _text(data[_U32.size :])


class _Reader:
    """Takes the data of an option apart; ProtocolError where it does not suffice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, kind: struct.Struct) -> int:
        return int(kind.unpack(self._take(kind.size))[0])

    def string(self) -> str:
        length = self.number(_U32)
        if length > MAX_STRING:
            raise ProtocolError(f"a string of {length} bytes, {MAX_STRING} at most")
        return _text(self._take(length))

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ProtocolError("more data than the option can have")

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise ProtocolError("less data than the option must have")
        taken, self._at = self._data[self._at : end], end
        return taken


def _string(text: str) -> bytes:
    data = text.encode()
    return _U32.pack(len(data)) + data


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("a string that is not UTF-8") from None
