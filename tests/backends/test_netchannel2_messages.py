"""Rings that no frontend of netchannel2 would leave: they end the interface, and do no other harm."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netchannel2_frontend import CONS, PAD, PROD, SMALL, Front
from netfront import WRAP
from test_vif_transmit import ethernet

from xenolith.backends.xenbus import XenbusError
from xenolith.net.frame import Frame


@pytest.fixture
def front() -> Iterator[Front]:
    front = Front()
    yield front
    front.close()


def kick(front: Front) -> None:
    """Have the backend look, whatever it has asked for."""
    front.events.send(front.pairs[0].port)
    front.run()


def run_away(front: Front) -> None:
    front.pairs[0].out.words[PROD] = (front.pairs[0].produced + 4104) % WRAP
    kick(front)


def run_back(front: Front) -> None:
    front.pairs[0].out.words[PROD] = (front.pairs[0].produced - 8) % WRAP
    kick(front)


def half_a_header(front: Front) -> None:
    front.pairs[0].out.words[PROD] = front.pairs[0].produced + 4
    kick(front)


def answers_run_away(front: Front) -> None:
    front.pairs[0].into.words[CONS] = (front.pairs[0].into.words[PROD] + 8) % WRAP
    front.deliver(ethernet(60))


def a_message(kind: int) -> Callable[[Front], None]:
    return lambda front: front.send(kind, bytes(60))


def of_size(size: int) -> Callable[[Front], None]:
    return lambda front: front.send(1, bytes(12), size)


def crossing(front: Front) -> None:
    pair = front.pairs[0]
    while pair.produced % 4096 != 4088:
        pair.send(77, bytes(4))
    front.kick()
    pair.out.write(pair.produced, struct.pack("<BBH", 77, 0, 16))
    pair.produced += 16
    front.kick()


def a_packet(**fields: int) -> Callable[[Front], None]:
    """A packet whose message's fields are as given."""
    values = {"ident": 1, "kind": SMALL, "prefix": 60} | fields

    def send(front: Front) -> None:
        head = struct.pack(
            "<IBBBBHHHH", values["ident"], values["kind"], 0, 0, 0, values["prefix"], 0, 0, 0
        )
        front.send(2, head + bytes(values.get("body", 60)))

    return send


WORST: dict[str, Callable[[Front], None]] = {
    "producer ahead": run_away,
    "producer behind": run_back,
    "half a header": half_a_header,
    "consumer ahead": answers_run_away,
    "no size": of_size(0),
    "half a size": of_size(12),
    "odd size": of_size(9),
    "more than there is": of_size(24),
    "more than the ring": of_size(65_528),
    "over the end": crossing,
    "packet without header": lambda front: front.send(2, bytes(4)),
    "packet of no type": a_packet(kind=0),
    "packet of an unknown type": a_packet(kind=2),
    "prefix of 257 bytes": a_packet(prefix=257, body=300),
    "prefix of 65535 bytes": a_packet(prefix=65_535),
    "prefix beyond the message": a_packet(prefix=65),
    "small with a fragment": a_packet(prefix=60, body=68),
    "finished twice": lambda front: front.send(3, bytes(4)),
    "no fragment at all": lambda front: front.send(5, bytes(4)),
    **{f"bypass {kind}": a_message(kind) for kind in range(9, 17)},
}


@pytest.mark.parametrize("do", WORST.values(), ids=WORST)
def test_what_no_frontend_does_ends_the_interface(
    front: Front, do: Callable[[Front], None]
) -> None:
    do(front)
    assert front.is_disabled, front.log
    said = len(front.log)
    # It is over, and stays so.
    kick(front)
    front.deliver(ethernet(600))
    assert front.sent() is None
    assert len(front.log) == said


@pytest.mark.parametrize("kind", [0, 6, 7, 8, 17, 18, 100, 254])
def test_unknown_messages_are_passed_over(front: Front, kind: int) -> None:
    front.send(kind, bytes(20))
    front.send(kind, b"")
    front.transmit(ethernet(60))
    assert front.sent() == Frame(ethernet(60))
    assert not front.is_disabled


@pytest.mark.parametrize("size", [8, 16, 1024])
def test_padding_is_passed_over_wherever_it_is(front: Front, size: int) -> None:
    front.send(PAD, bytes(size - 4))
    front.transmit(ethernet(60))
    assert front.sent() == Frame(ethernet(60))


def test_a_ring_that_begins_between_messages_is_refused() -> None:
    for direction in ("out", "into"):
        front = Front()
        front.backend.disconnect(lambda: None)
        words = getattr(front.pairs[0], direction).words
        words[PROD] = words[CONS] = 4
        with pytest.raises(XenbusError, match="messages begin at byte 4"):
            front.backend.connect(front.nodes)
        front.close()
        assert front.memory.free_frames == 200 - 1


def test_limits_may_change(front: Front) -> None:
    front.send(5, b"\1\0\0\0")
    front.deliver(ethernet(5000))
    assert front.received() == []
    front.send(5, b"\2\0\0\0")
    front.deliver(ethernet(5000))
    assert [packet.data for packet in front.received()] == [ethernet(5000)]


MESSAGES = st.lists(
    st.tuples(
        st.integers(0, 20) | st.just(PAD),
        st.binary(max_size=64)
        | st.builds(
            lambda head, tail: struct.pack("<IBBBBHHHH", *head) + tail,
            st.tuples(
                st.integers(0, 300), st.integers(0, 4), st.integers(0, 15), st.integers(0, 2),
                st.just(0), st.integers(0, 300), *[st.integers(0, 100)] * 3,
            ),
            st.binary(max_size=100),
        ),
        st.none() | st.integers(0, 70_000).map(lambda size: size % 65_536),
    ),
    max_size=12,
)  # fmt: skip


@given(MESSAGES, st.lists(st.integers(14, 5000), max_size=3))
@settings(max_examples=150)
def test_no_messages_do_harm(
    messages: list[tuple[int, bytes, int | None]], sizes: list[int]
) -> None:
    front = Front()
    for kind, body, size in messages:
        front.send(kind, body, size)
    for size in sizes:
        front.deliver(ethernet(size))
    kick(front)
    front.close()
    assert front.memory.free_frames == 200 - 1


@given(
    st.binary(min_size=64, max_size=4096),
    st.tuples(*[st.integers(0, WRAP - 1) | st.integers(0, 4200)] * 8),
)
@settings(max_examples=150)
def test_no_ring_contents_do_harm(contents: bytes, words: tuple[int, ...]) -> None:
    front = Front()
    pair = front.pairs[0]
    pair.out.write(0, contents)
    for number, word in enumerate(words):
        (pair.out if number < 4 else pair.into).words[number % 4] = word
    kick(front)
    front.deliver(ethernet(600))
    kick(front)
    front.close()
    assert front.memory.free_frames == 200 - 1


@given(st.lists(st.integers(14, 6000), min_size=1, max_size=40), st.integers(0, 511))
@settings(max_examples=60)
def test_frames_arrive_in_order_wherever_the_rings_begin(sizes: list[int], start: int) -> None:
    front = Front(start=(WRAP - 2048 + start * 8) % WRAP)
    sent, received = [], []
    for number, size in enumerate(sizes):
        front.transmit(ethernet(size), ident=number)
        frame = front.sent()
        assert frame is not None
        sent.append(len(frame.data))
        front.deliver(ethernet(size))
        received += [len(packet.data) for packet in front.received()]
    assert sent == received == sizes
    assert front.finished() == list(range(len(sizes)))
    front.close()
