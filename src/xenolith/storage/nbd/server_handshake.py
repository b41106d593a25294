"""The server's side of NBD's fixed newstyle handshake, without any input or output.

Follows doc/proto.md of the NBD project. Whatever a client sends, it is answered or sent away after
a bounded number of options of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xenolith.storage.nbd import options
from xenolith.storage.nbd.constants import (
    BASE_ALLOCATION,
    HandshakeFlag,
    Info,
    Option,
    OptionReply,
    TransmissionFlag,
)
from xenolith.storage.nbd.options import BlockSizes, ExportInfo
from xenolith.storage.nbd.protocol import ProtocolError
from xenolith.storage.nbd.stream import Handshake

ALLOCATION_CONTEXT = 1
"""The number under which a client that selected base:allocation is told of it."""

_FLAGS = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
_MAX_OPTIONS = 256
_NAMESPACE = "base:"


@dataclass(frozen=True, slots=True)
class Export:
    """An image as clients find it; the default export is the same."""

    name: str
    description: str
    info: ExportInfo
    sizes: BlockSizes


@dataclass(slots=True)
class Session:
    """What a client and the server have agreed upon."""

    structured: bool = False
    """Replies are structured."""
    allocation: bool = False
    """The client may ask for base:allocation."""


class _Refused(Exception):  # noqa: N818 - an answer, no error of ours
    def __init__(self, kind: OptionReply, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def handshake(export: Export) -> Handshake[Session | None]:
    """Serve a client until transmission begins, or None when it wants no export.

    ProtocolError where the client breaks the protocol, or goes on for too long.
    """
    yield options.encode_greeting(_FLAGS)
    flags = options.decode_client_flags((yield options.CLIENT_FLAGS_SIZE))
    if flags & ~int(_FLAGS):
        raise ProtocolError(f"client flags {flags:#x} are not known")
    negotiation = _Negotiation(export)
    for _ in range(_MAX_OPTIONS):
        option, length = options.decode_option((yield options.OPTION_SIZE))
        data = (yield length) if length else b""
        if option == Option.EXPORT_NAME:
            reply = negotiation.export_name(data)
            yield reply if flags & HandshakeFlag.NO_ZEROES else reply + bytes(options.RESERVED_SIZE)
            return negotiation.session
        try:
            answers = list(negotiation.answer(option, data))
        except _Refused as refusal:
            yield options.encode_option_reply(option, refusal.kind, str(refusal).encode())
            continue
        replies = b"".join(options.encode_option_reply(option, *answer) for answer in answers)
        yield replies + options.encode_option_reply(option, OptionReply.ACK)
        if option == Option.GO:
            return negotiation.session
        if option == Option.ABORT:
            return None
    raise ProtocolError(f"more than {_MAX_OPTIONS} options")


Answers = Iterator[tuple[OptionReply, bytes]]


class _Negotiation:
    """Answers options; what is yielded precedes the acknowledgement."""

    def __init__(self, export: Export) -> None:
        self._export = export
        self._allocation_of: str | None = None
        self.session = Session()
        self._handlers: dict[int, Callable[[bytes], Answers]] = {
            Option.ABORT: self._abort,
            Option.LIST: self._list,
            Option.INFO: self._info,
            Option.GO: self._go,
            Option.STRUCTURED_REPLY: self._structured_reply,
            Option.LIST_META_CONTEXT: self._list_meta_context,
            Option.SET_META_CONTEXT: self._set_meta_context,
        }

    def answer(self, option: int, data: bytes) -> Answers:
        """The replies to an option; _Refused says why there are none."""
        handler = self._handlers.get(option)
        if handler is None:
            raise _Refused(OptionReply.ERR_UNSUP, f"option {option} is not supported")
        try:
            yield from handler(data)
        except ProtocolError as error:
            raise _Refused(OptionReply.ERR_INVALID, str(error)) from None

    def export_name(self, data: bytes) -> bytes:
        """The reply to the option that cannot be refused but by hanging up."""
        if data not in (b"", self._export.name.encode()):
            raise ProtocolError("the client wants an export that does not exist")
        return options.encode_export_name_reply(self._export_info())

    def _abort(self, _data: bytes) -> Answers:
        yield from ()

    def _list(self, data: bytes) -> Answers:
        _expect_nothing(data)
        export = self._export
        yield OptionReply.SERVER, options.encode_server(export.name, export.description)

    def _info(self, data: bytes) -> Answers:
        name, wanted = options.decode_go(data)
        export = self._check(name)
        yield OptionReply.INFO, options.encode_info_export(self._export_info())
        if Info.NAME in wanted:
            yield OptionReply.INFO, options.encode_info_text(Info.NAME, export.name)
        if Info.DESCRIPTION in wanted:
            yield OptionReply.INFO, options.encode_info_text(Info.DESCRIPTION, export.description)
        # It is sent unasked as well: a client that does not know it sends requests of bytes, each
        # of which is refused.
        yield OptionReply.INFO, options.encode_info_block_size(export.sizes)

    def _go(self, data: bytes) -> Answers:
        yield from self._info(data)
        name, _ = options.decode_go(data)
        self.session.allocation = self._allocation_of == name

    def _structured_reply(self, data: bytes) -> Answers:
        _expect_nothing(data)
        self.session.structured = True
        yield from ()

    def _list_meta_context(self, data: bytes) -> Answers:
        _, queries = self._meta_context(data)
        if not queries or {_NAMESPACE, BASE_ALLOCATION} & set(queries):
            yield OptionReply.META_CONTEXT, options.encode_meta_context(0, BASE_ALLOCATION)

    def _set_meta_context(self, data: bytes) -> Answers:
        self._allocation_of = None
        name, queries = self._meta_context(data)
        if BASE_ALLOCATION in queries:
            self._allocation_of = name
            context = options.encode_meta_context(ALLOCATION_CONTEXT, BASE_ALLOCATION)
            yield OptionReply.META_CONTEXT, context

    def _meta_context(self, data: bytes) -> options.MetaContextQuery:
        if not self.session.structured:
            raise _Refused(OptionReply.ERR_INVALID, "structured replies must be agreed upon first")
        query = options.decode_meta_context_query(data)
        self._check(query.export)
        return query

    def _export_info(self) -> ExportInfo:
        """Only structured replies can be fragmented, so only then is there not to fragment."""
        info = self._export.info
        if not self.session.structured:
            return info
        return info._replace(flags=info.flags | TransmissionFlag.SEND_DF)

    def _check(self, name: str) -> Export:
        if name not in ("", self._export.name):
            raise _Refused(OptionReply.ERR_UNKNOWN, f"there is no export '{name}'")
        return self._export


def _expect_nothing(data: bytes) -> None:
    if data:
        raise ProtocolError("the option has no data")
