"""The client's side of NBD's fixed newstyle handshake, without any input or output.

Follows doc/proto.md of the NBD project: NBD_OPT_GO with block sizes, structured replies and
base:allocation where the server knows them, NBD_OPT_EXPORT_NAME where it does not.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from xenolith.storage.nbd import options
from xenolith.storage.nbd.constants import (
    BASE_ALLOCATION,
    MAX_PAYLOAD,
    OPTION_ERROR,
    HandshakeFlag,
    Info,
    Option,
    OptionReply,
    TransmissionFlag,
)
from xenolith.storage.nbd.options import BlockSizes, ExportInfo, OptionAnswer
from xenolith.storage.nbd.protocol import ProtocolError
from xenolith.storage.nbd.stream import Handshake

_FLAGS = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
_MAX_REPLIES = 256
_DEFAULT_SIZES = BlockSizes(1, 4096, MAX_PAYLOAD)
_ERRORS = {
    OptionReply.ERR_UNKNOWN: "it has no such export",
    OptionReply.ERR_TLS_REQD: "it insists on TLS",
    OptionReply.ERR_SHUTDOWN: "it is about to end",
}


class RefusedError(Exception):
    """The server does not let this client use the export; the message says why."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the server offers, and in which dialect."""

    size: int
    flags: TransmissionFlag
    sizes: BlockSizes
    structured: bool
    allocation_context: int | None
    """The number of base:allocation, if the server can tell of it."""

    def plain(self) -> list[Any]:
        """What another process can make it from, by :meth:`from_plain`: JSON has it all."""
        return [self.size, self.flags, self.sizes, self.structured, self.allocation_context]

    @classmethod
    def from_plain(cls, values: Sequence[Any]) -> Self:
        """Undo :meth:`plain`."""
        size, flags, sizes, structured, context = values
        return cls(size, TransmissionFlag(flags), BlockSizes(*sizes), structured, context)


def handshake(export: str) -> Handshake[Agreement]:
    """Ask for an export; RefusedError, ProtocolError."""
    flags = options.decode_greeting((yield options.GREETING_SIZE))
    if not flags & HandshakeFlag.FIXED_NEWSTYLE:
        raise ProtocolError("the server speaks a dialect of NBD older than fixed newstyle")
    ours = flags & _FLAGS
    yield options.encode_client_flags(ours)
    structured, _ = yield from _ask(Option.STRUCTURED_REPLY, b"")
    context = (yield from _allocation_context(export)) if structured else None
    accepted, replies = yield from _ask(Option.GO, options.encode_go(export, [Info.BLOCK_SIZE]))
    if accepted:
        infos = [options.decode_info(data) for kind, data in replies if kind == OptionReply.INFO]
        info = next((each for each in infos if isinstance(each, ExportInfo)), None)
        sizes = next((each for each in infos if isinstance(each, BlockSizes)), _DEFAULT_SIZES)
        if info is None:
            raise ProtocolError("the server does not say how large the export is")
    else:
        yield options.encode_option(Option.EXPORT_NAME, export.encode())
        info = options.decode_export_name_reply((yield options.EXPORT_NAME_REPLY_SIZE))
        if not ours & HandshakeFlag.NO_ZEROES:
            yield options.RESERVED_SIZE
        sizes = _DEFAULT_SIZES
    return Agreement(info.size, info.flags, sizes, structured, context)


def _allocation_context(export: str) -> Generator[int | bytes, bytes, int | None]:
    query = options.encode_meta_context_query(export, [BASE_ALLOCATION])
    _, replies = yield from _ask(Option.SET_META_CONTEXT, query)
    for kind, data in replies:
        if kind == OptionReply.META_CONTEXT:
            number, name = options.decode_meta_context(data)
            if name == BASE_ALLOCATION:
                return number
    return None


def _ask(
    option: Option, data: bytes
) -> Generator[int | bytes, bytes, tuple[bool, list[tuple[int, bytes]]]]:
    """Send an option; whether the server has it, and what it replied before it acknowledged."""
    yield options.encode_option(option, data)
    replies: list[tuple[int, bytes]] = []
    for _ in range(_MAX_REPLIES):
        answer = options.decode_option_reply((yield options.OPTION_REPLY_SIZE))
        content = (yield answer.length) if answer.length else b""
        if answer.option != option:
            raise ProtocolError("the server answers an option that was not asked for")
        if answer.kind == OptionReply.ACK:
            return True, replies
        if answer.kind & OPTION_ERROR:
            _check_error(option, answer, content)
            return False, []
        replies.append((answer.kind, content))
    raise ProtocolError(f"more than {_MAX_REPLIES} replies to one option")


def _check_error(option: Option, answer: OptionAnswer, content: bytes) -> None:
    """Go on after an error that only says that an extension is missing."""
    optional = option in (Option.STRUCTURED_REPLY, Option.SET_META_CONTEXT)
    if answer.kind == OptionReply.ERR_UNSUP or (optional and answer.kind != _TLS):
        return
    why = content.decode(errors="replace")
    if answer.kind in set(OptionReply):
        kind = OptionReply(answer.kind)
        why = _ERRORS.get(kind, why or kind.name)
    raise RefusedError(why or f"error {answer.kind:#x}")


_TLS = OptionReply.ERR_TLS_REQD
