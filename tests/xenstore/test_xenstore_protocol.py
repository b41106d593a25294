"""Framing: whatever the fragmentation, the same messages; nothing after a breach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import SOCKMSG, XENSTORE_PAYLOAD_MAX, SockMsg
from xenolith.xenstore.protocol import (
    HEADER_SIZE,
    Message,
    MessageParser,
    ProtocolError,
    encode,
    error_payload,
    strings,
)

U32 = st.integers(0, 2**32 - 1)
MESSAGES = st.lists(st.builds(Message, U32, U32, U32, st.binary(max_size=40)), max_size=6)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream in pieces, of the lengths given as long as they last."""
    pieces = []
    for length in cuts:
        pieces.append(stream[:length])
        stream = stream[length:]
    return [*pieces, stream]


@given(MESSAGES, st.lists(st.integers(0, 30)))
def test_fragmentation_does_not_matter(messages: list[Message], cuts: list[int]) -> None:
    stream = b"".join(encode(*message) for message in messages)
    parser = MessageParser()
    assert [found for piece in cut(stream, cuts) for found in parser.feed(piece)] == messages


@given(MESSAGES, st.integers(XENSTORE_PAYLOAD_MAX + 1, 2**32 - 1), st.lists(st.integers(0, 30)))
def test_a_payload_too_long_ends_the_stream_after_what_came_before(
    messages: list[Message], length: int, cuts: list[int]
) -> None:
    stream = b"".join(encode(*message) for message in messages)
    stream += SOCKMSG.pack(SockMsg(0, 0, 0, length))
    parser, found = MessageParser(), []
    with pytest.raises(ProtocolError):
        for piece in cut(stream, cuts):
            for message in parser.feed(piece):
                found.append(message)
    assert found == messages


@given(st.binary(max_size=200))
def test_garbage_is_messages_or_a_breach(stream: bytes) -> None:
    parser = MessageParser()
    consumed = 0
    try:
        for message in parser.feed(stream):
            consumed += HEADER_SIZE + len(message.payload)
    except ProtocolError:
        length = SOCKMSG.unpack(stream, consumed).len
        assert length > XENSTORE_PAYLOAD_MAX
    else:
        assert len(stream) - consumed < HEADER_SIZE + XENSTORE_PAYLOAD_MAX


def test_the_longest_payload_is_a_message() -> None:
    payload = bytes(XENSTORE_PAYLOAD_MAX)
    assert list(MessageParser().feed(encode(2, 1, 0, payload))) == [Message(2, 1, 0, payload)]


def test_errors_without_a_name_on_the_wire_are_einval() -> None:
    assert error_payload(Errno.ENOENT) == b"ENOENT\0"
    assert error_payload(Errno.ESRCH) == b"EINVAL\0"


def test_only_what_ends_in_nul_is_a_string() -> None:
    assert strings(b"") == []
    assert strings(b"a\0\0b") == [b"a", b""]
