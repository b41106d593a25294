"""NBD's messages survive encoding and decoding, and nonsense is refused by ProtocolError alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.storage.nbd import options, protocol
from xenolith.storage.nbd.constants import Chunk, Info, Option, OptionReply, TransmissionFlag
from xenolith.storage.nbd.options import BlockSizes, ExportInfo, MetaContextQuery, OptionRequest
from xenolith.storage.nbd.protocol import Descriptor, ProtocolError, Reply, ReplyChunk, Request

U16 = st.integers(0, (1 << 16) - 1)
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
NAMES = st.text(max_size=300)


@given(st.builds(Request, U16, U16, U64, U64, U32))
def test_requests(request: Request) -> None:
    data = protocol.encode_request(request)
    assert len(data) == protocol.REQUEST_SIZE
    assert protocol.decode_request(data) == request


@given(U64, U32)
def test_simple_replies(cookie: int, error: int) -> None:
    data = protocol.encode_reply(cookie, error)
    assert not protocol.is_chunk(data)
    assert protocol.decode_reply(data) == Reply(cookie, error)


@given(st.sampled_from(Chunk), U64, U32, U16)
def test_chunks(kind: Chunk, cookie: int, length: int, flags: int) -> None:
    data = protocol.encode_chunk(kind, cookie, length, flags)
    assert protocol.is_chunk(data)
    assert len(data) == protocol.REPLY_SIZE + protocol.CHUNK_REST_SIZE
    assert protocol.decode_chunk(data) == ReplyChunk(flags, kind, cookie, length)


@given(U64, U32, NAMES)
def test_errors(cookie: int, error: int, message: str) -> None:
    data = protocol.encode_error_chunk(cookie, error, message)
    head, payload = data[:20], data[20:]
    assert protocol.decode_chunk(head).length == len(payload)
    assert protocol.decode_error(payload) == (error, message)


@given(U64, U32, st.lists(st.builds(Descriptor, U32, U32), min_size=1, max_size=20))
def test_block_status(cookie: int, context: int, descriptors: list[Descriptor]) -> None:
    data = protocol.encode_status_chunk(cookie, context, descriptors)
    assert protocol.decode_chunk(data[:20]).length == len(data) - 20
    assert protocol.decode_status(data[20:]) == (context, descriptors)


@given(NAMES, st.sets(st.sampled_from(Info)))
def test_go(name: str, wanted: set[Info]) -> None:
    assert options.decode_go(options.encode_go(name, list(wanted))) == (name, wanted)


@given(NAMES, st.lists(NAMES, max_size=8))
def test_meta_context_queries(name: str, queries: list[str]) -> None:
    data = options.encode_meta_context_query(name, queries)
    assert options.decode_meta_context_query(data) == MetaContextQuery(name, queries)


@given(st.sampled_from(Option), st.binary(max_size=100))
def test_options(option: Option, content: bytes) -> None:
    data = options.encode_option(option, content)
    assert options.decode_option(data[:16]) == OptionRequest(option, len(content))
    assert data[16:] == content


@given(st.sampled_from(OptionReply), st.binary(max_size=100))
def test_replies_to_options(kind: OptionReply, content: bytes) -> None:
    data = options.encode_option_reply(Option.GO, kind, content)
    assert options.decode_option_reply(data[:20]) == (Option.GO, kind, len(content))


@given(U64, st.integers(0, 4095), U32, U32, U32)
def test_infos(size: int, flags: int, minimum: int, preferred: int, maximum: int) -> None:
    info = ExportInfo(size, TransmissionFlag(flags))
    assert options.decode_info(options.encode_info_export(info)) == info
    assert options.decode_export_name_reply(options.encode_export_name_reply(info)) == info
    sizes = BlockSizes(minimum, preferred, maximum)
    assert options.decode_info(options.encode_info_block_size(sizes)) == sizes


@pytest.mark.parametrize(
    ("decode", "size"),
    [
        (options.decode_greeting, options.GREETING_SIZE),
        (options.decode_option, options.OPTION_SIZE),
        (options.decode_option_reply, options.OPTION_REPLY_SIZE),
        (protocol.decode_request, protocol.REQUEST_SIZE),
        (protocol.is_chunk, protocol.REPLY_SIZE),
    ],
)
def test_messages_without_their_magic_are_refused(
    decode: Callable[[bytes], object], size: int
) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes(size))


@given(st.binary(max_size=200))
def test_nonsense_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for decode in (
        options.decode_go,
        options.decode_meta_context_query,
        options.decode_meta_context,
        options.decode_info,
        protocol.decode_error,
        protocol.decode_status,
    ):
        with contextlib.suppress(ProtocolError):
            decode(data)


def test_absurd_lengths_are_refused() -> None:
    absurd = (1 << 32) - 1
    with pytest.raises(ProtocolError, match="65536 at most"):
        options.decode_option(options.encode_option(Option.GO)[:12] + absurd.to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="65536 at most"):
        reply = options.encode_option_reply(Option.GO, OptionReply.INFO)
        options.decode_option_reply(reply[:16] + absurd.to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="4096 at most"):
        options.decode_go(absurd.to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="less data"):
        # A number of queries that would take hours to count to.
        options.decode_meta_context_query(bytes(4) + absurd.to_bytes(4, "big"))
