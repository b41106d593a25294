"""The relay of xenstore messages, with real sockets, against a store that the test plays."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from xenolith.abi.xs_wire import MessageType, RingError
from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack import xenstore_relay
from xenolith.toolstack.xenstore_relay import XenstoreRelay
from xenolith.xenstore.protocol import Message, MessageParser, encode


class Guest:
    """The guest's side of the ring: what it wrote, what it got, and the room it leaves."""

    def __init__(self) -> None:
        self.written = b""
        self.got = b""
        self.room = 1 << 30
        self.reset_wanted = False
        self.error = RingError.NONE

    @property
    def stopped(self) -> bool:
        return self.error is not RingError.NONE

    def stop(self, error: RingError) -> None:
        self.error = error

    def reset(self) -> None:
        self.reset_wanted = False
        self.error = RingError.NONE
        self.written = self.got = b""

    def read(self, limit: int) -> bytes:
        data, self.written = self.written[:limit], self.written[limit:]
        return data

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.got += taken
        self.room -= len(taken)
        return len(taken)

    def answers(self) -> list[Message]:
        return list(MessageParser().feed(self.got))


class Daemon:
    """The other end of a connection, which answers only when told to."""

    def __init__(self) -> None:
        self.theirs, self._socket = socket.socketpair()
        self._socket.setblocking(False)
        self._parser = MessageParser()
        self._unsent = b""

    def requests(self) -> list[Message]:
        try:
            return list(self._parser.feed(self._socket.recv(1 << 20)))
        except BlockingIOError:
            return []

    def answer(self, request: Message, payload: bytes = b"OK\0") -> None:
        self._unsent += encode(request.type, request.request_id, request.transaction_id, payload)
        self.flush()

    def flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]

    def send(self, data: bytes) -> None:
        assert self._socket.send(data) == len(data)

    def die(self) -> None:
        self._socket.close()


class Bench:
    """A relay between a guest and any number of daemons, one after the other."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.guest = Guest()
        self.relay = XenstoreRelay(loop, self.guest, loop.post)
        self.daemons: list[Daemon] = []

    def new_daemon(self) -> Daemon:
        daemon = Daemon()
        self.daemons.append(daemon)
        self.relay.connect(daemon.theirs)
        return daemon

    def ask(self, data: bytes) -> None:
        self.guest.written += data
        self.relay.on_activity()
        self.settle()

    def settle(self) -> None:
        self.loop.call_later(0.02, self.loop.stop)
        self.loop.run()


def read_request(number: int, path: bytes = b"name\0") -> bytes:
    return encode(MessageType.READ, number, 0, path)


@pytest.fixture
def bench(loop: EventLoop) -> Iterator[Bench]:
    made = Bench(loop)
    yield made
    for daemon in made.daemons:
        daemon.die()
    made.settle()


def test_requests_and_answers_pass(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.ask(read_request(1) + read_request(2))
    for request in daemon.requests():
        daemon.answer(request, b"value %d" % request.request_id)
    bench.settle()
    assert [answer.payload for answer in bench.guest.answers()] == [b"value 1", b"value 2"]


def test_a_new_daemon_is_asked_what_the_old_one_left_unanswered(bench: Bench) -> None:
    first = bench.new_daemon()
    bench.ask(read_request(1) + read_request(2) + read_request(3)[:10])
    requests = first.requests()
    first.answer(requests[0])
    # The second answer is cut off by the daemon's death.
    first.send(encode(MessageType.READ, 2, 0, b"value")[:18])
    bench.settle()
    first.die()
    bench.settle()
    bench.ask(read_request(3)[10:])
    second = bench.new_daemon()
    bench.settle()
    requests = second.requests()
    assert [request.request_id for request in requests] == [2, 3]
    for request in requests:
        second.answer(request)
    bench.settle()
    assert [answer.request_id for answer in bench.guest.answers()] == [1, 2, 3]


def test_watch_events_pass_without_a_request(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.ask(read_request(7))
    daemon.send(encode(MessageType.WATCH_EVENT, 0, 0, b"path\0token\0"))
    bench.settle()
    bench.daemons[0].die()
    second = bench.new_daemon()
    bench.settle()
    assert [answer.type for answer in bench.guest.answers()] == [MessageType.WATCH_EVENT]
    assert [request.request_id for request in second.requests()] == [7]


def test_a_guest_that_takes_no_answers_is_read_no_further(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.guest.room = 0
    flood = b"".join(read_request(number) for number in range(2000))
    bench.ask(flood)
    for _ in range(3):
        for request in daemon.requests():
            daemon.answer(request)
        bench.settle()
        bench.relay.on_activity()
    assert len(flood) - len(bench.guest.written) <= xenstore_relay.WINDOW
    bench.guest.room = 1 << 30
    for _ in range(20):
        bench.relay.on_activity()
        bench.settle()
        daemon.flush()
        for request in daemon.requests():
            daemon.answer(request)
    bench.settle()
    assert [answer.request_id for answer in bench.guest.answers()] == list(range(2000))


def test_events_for_a_guest_that_takes_none_wait_in_the_daemon(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.guest.room = 0
    event = encode(MessageType.WATCH_EVENT, 0, 0, b"p" * 1000 + b"\0t\0")
    sent = 0
    with pytest.raises(BlockingIOError):
        for sent in range(10000):
            if sent % 50 == 0:
                bench.settle()
            daemon.send(event)
    bench.guest.room = 1 << 30
    bench.relay.on_activity()
    bench.settle()
    assert len(bench.guest.answers()) == sent


def test_an_impossible_length_stops_the_ring_and_nothing_else(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.ask(read_request(1) + b"\xff" * 16 + read_request(2))
    first, reset = daemon.requests()
    assert (first.request_id, reset.type) == (1, MessageType.RESET_WATCHES)
    assert bench.guest.error is RingError.PROTO
    bench.ask(read_request(3))
    assert daemon.requests() == []
    for request in (first, reset):
        daemon.answer(request)
    bench.settle()
    assert bench.guest.got == b""


def test_a_ring_that_is_broken_ends_the_guests_session_once(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.ask(read_request(1))
    bench.guest.stop(RingError.RINGIDX)
    for _ in range(3):
        bench.ask(b"")
    assert [request.type for request in daemon.requests()] == [
        MessageType.READ,
        MessageType.RESET_WATCHES,
    ]


EVENT = encode(MessageType.WATCH_EVENT, 0, 0, b"path\0token\0")


def test_a_reset_drops_all_that_was_before_it_and_nothing_after(bench: Bench) -> None:
    daemon = bench.new_daemon()
    # What the guest asks itself must not be taken for our own request.
    own = encode(MessageType.RESET_WATCHES, 0, 0, b"\0")
    bench.ask(read_request(1) + own + read_request(2)[:10])
    bench.guest.reset_wanted = True
    bench.ask(read_request(3))
    first, second, reset = daemon.requests()
    assert (first.request_id, second.type, reset.type) == (1, *[MessageType.RESET_WATCHES] * 2)
    daemon.answer(first)
    daemon.send(EVENT)
    daemon.answer(second)
    bench.settle()
    assert bench.guest.reset_wanted
    daemon.send(EVENT)
    daemon.answer(reset)
    bench.settle()
    assert not bench.guest.reset_wanted
    assert bench.guest.got == b""
    bench.ask(read_request(4))
    (request,) = daemon.requests()
    daemon.answer(request)
    daemon.send(EVENT)
    bench.settle()
    assert [answer.type for answer in bench.guest.answers()] == [
        MessageType.READ,
        MessageType.WATCH_EVENT,
    ]


def test_a_reset_is_granted_to_a_guest_that_took_no_answers(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.guest.room = 0
    for _ in range(100):
        daemon.send(EVENT)
    bench.settle()
    # More than is read at a time stands before the answer to the reset.
    daemon.send(EVENT * 4000)
    bench.guest.room = 1 << 30
    bench.guest.reset_wanted = True
    bench.ask(b"")
    (request,) = daemon.requests()
    daemon.answer(request)
    bench.settle()
    assert not bench.guest.reset_wanted
    assert bench.guest.got == b""


def test_a_reset_survives_the_daemon(bench: Bench) -> None:
    bench.new_daemon()
    bench.guest.reset_wanted = True
    bench.ask(b"")
    bench.daemons[0].die()
    bench.settle()
    assert bench.guest.reset_wanted
    second = bench.new_daemon()
    bench.settle()
    (request,) = second.requests()
    second.answer(request)
    bench.settle()
    assert not bench.guest.reset_wanted


def test_a_broken_ring_can_be_reset(bench: Bench) -> None:
    daemon = bench.new_daemon()
    bench.ask(b"\xff" * 16)
    bench.guest.reset_wanted = True
    bench.ask(b"")
    for request in daemon.requests():
        daemon.answer(request)
    bench.settle()
    assert not bench.guest.stopped
    bench.ask(read_request(5))
    assert [request.request_id for request in daemon.requests()] == [5]


def watch_request(kind: MessageType, number: int, path: bytes) -> bytes:
    return encode(kind, number, 0, path + b"\0token\0")


def test_watches_are_set_again_in_a_store_that_has_lost_them(bench: Bench) -> None:
    first = bench.new_daemon()
    bench.ask(
        b"".join(watch_request(MessageType.WATCH, 1, path) for path in (b"a", b"b", b"c"))
        + watch_request(MessageType.UNWATCH, 2, b"b")
    )
    *granted, refused, unwatched = first.requests()
    for request in granted:
        first.answer(request)
    first.answer(refused._replace(type=MessageType.ERROR), b"E2BIG\0")
    first.answer(unwatched)
    bench.settle()
    first.die()
    bench.settle()
    bench.guest.got = b""
    second = bench.new_daemon()
    bench.relay.restore_watches()
    bench.ask(read_request(0))
    watch, read = second.requests()
    assert (watch.type, watch.payload) == (MessageType.WATCH, b"a\0token\0")
    second.answer(watch)
    second.send(EVENT)
    second.answer(read)
    bench.settle()
    assert [answer.type for answer in bench.guest.answers()] == [
        MessageType.WATCH_EVENT,
        MessageType.READ,
    ]
    bench.guest.reset_wanted = True
    bench.ask(b"")
    (reset,) = second.requests()
    second.answer(reset)
    bench.settle()
    bench.relay.restore_watches()
    bench.settle()
    assert second.requests() == []
