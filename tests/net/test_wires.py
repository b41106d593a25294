"""Wires over real sockets: frames arrive whole, in order, however the peer reads and writes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.net.errors import WireClosedError
from xenolith.net.frame import Frame, GsoType, Offload, OffloadFlag
from xenolith.net.wire import MessageWire, StreamWire

LARGE = Offload(OffloadFlag.NEEDS_CSUM, GsoType.TCPV4, 54, 1448, 34, 16)


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@pytest.fixture
def stream() -> Iterator[tuple[StreamWire, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    wire = StreamWire(ours)
    yield wire, theirs
    wire.close()
    theirs.close()


@pytest.fixture
def messages() -> Iterator[tuple[MessageWire, MessageWire]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wires = MessageWire(left.detach()), MessageWire(right.detach())
    yield wires
    for wire in wires:
        wire.close()


@given(st.lists(st.binary(max_size=200), max_size=20), st.data())
def test_a_stream_is_cut_into_frames_wherever_it_was_cut_in_transit(
    frames: list[bytes], data: st.DataObject
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = StreamWire(ours)
        rest = b"".join(map(framed, frames))
        received = []
        while rest:
            part = data.draw(st.integers(1, len(rest)))
            theirs.send(rest[:part])
            rest = rest[part:]
            while (frame := wire.receive()) is not None:
                received.append(bytes(frame.data))
        assert received == frames


def test_a_stream_takes_as_much_as_there_is_room_for_and_then_goes_on(
    stream: tuple[StreamWire, socket.socket],
) -> None:
    wire, peer = stream
    frames = [bytes([number]) * 60_000 for number in range(40)]
    sent = wire.send([Frame(data) for data in frames])
    assert 0 < sent < len(frames)
    received = b""
    while sent < len(frames) or len(received) < 40 * 60_004:
        received += peer.recv(50_000)
        sent += wire.send([Frame(data) for data in frames[sent:]])
    assert received == b"".join(map(framed, frames))


def test_a_stream_whose_length_cannot_be_is_given_up(
    stream: tuple[StreamWire, socket.socket],
) -> None:
    wire, peer = stream
    peer.send(framed(b"good") + b"\xff\xff\xff\xff")
    first = wire.receive()
    assert first is not None and first.data == b"good"
    with pytest.raises(WireClosedError):
        wire.receive()


def test_a_peer_that_is_gone_is_noticed(stream: tuple[StreamWire, socket.socket]) -> None:
    wire, peer = stream
    peer.close()
    with pytest.raises(WireClosedError):
        wire.receive()
    with pytest.raises(WireClosedError):
        wire.send([Frame(b"x")])


def test_messages_carry_what_is_left_to_do(messages: tuple[MessageWire, MessageWire]) -> None:
    left, right = messages
    big = os.urandom(65_549)
    assert left.send([Frame(b"small" * 10), Frame(big, LARGE)]) == 2
    small = right.receive()
    assert small is not None and small == Frame(memoryview(b"small" * 10))
    whole = right.receive()
    assert whole is not None and whole.data == big and whole.offload == LARGE
    assert right.receive() is None


def test_messages_wait_for_room(
    messages: tuple[MessageWire, MessageWire],
) -> None:
    left, right = messages
    frames = [Frame(bytes([number]) * 60_000) for number in range(30)]
    sent = left.send(frames)
    assert 0 < sent < 30
    for number in range(30):
        frame = right.receive()
        assert frame is not None and frame.data[0] == number
        sent += left.send(frames[sent:])


def test_messages_end_with_the_peer() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wire = MessageWire(right.detach())
    left.close()
    with pytest.raises(WireClosedError):
        wire.receive()
    with pytest.raises(WireClosedError):
        wire.send([Frame(b"x")])
    wire.close()
