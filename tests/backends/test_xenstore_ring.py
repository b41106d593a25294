"""The xenstore ring over a real event channel: two streams of bytes, until the guest breaks them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_guest import WRAP, RingGuest

from xenolith.abi.xs_wire import (
    XENSTORE_DOMAIN_INTERFACE,
    ConnectionState,
    RingError,
    ServerFeature,
)
from xenolith.backends.xenstore_ring import XenstoreRing

AT = XENSTORE_DOMAIN_INTERFACE.offsets
REQUESTS = (AT["req"], 1024, AT["req_cons"], AT["req_prod"])
RESPONSES = (AT["rsp"], 1024, AT["rsp_cons"], AT["rsp_prod"])


class Xenstore(RingGuest):
    def __init__(self, start: int = 0) -> None:
        super().__init__()
        for offset in (*REQUESTS[2:], *RESPONSES[2:]):
            self.put(offset, start)
        self.activities = 0
        self.ring = XenstoreRing(self.page, self.events, self.activity)

    def activity(self) -> None:
        self.activities += 1

    def notify(self) -> None:
        self.events.send(self.ring.port)

    def notified(self) -> bool:
        return self.take_event(self.ring.port)


def test_a_request_is_told_read_and_acknowledged() -> None:
    store = Xenstore()
    store.produce(*REQUESTS, b"request")
    store.notify()
    assert store.activities == 1
    assert store.ring.read(3) == b"req"
    assert store.notified(), "there is room now"
    assert store.ring.read(1024) == b"uest"
    assert store.notified()
    assert store.ring.read(1024) == b""
    assert not store.notified()


def test_a_response_goes_in_as_far_as_there_is_room() -> None:
    store = Xenstore(WRAP - 100)
    text = bytes(number % 251 for number in range(1500))
    assert store.ring.write(text) == 1024
    assert store.notified()
    assert store.ring.write(text[1024:]) == 0
    assert not store.notified()
    received = store.consume(*RESPONSES)
    store.notify()
    assert store.activities == 1
    assert store.ring.write(text[1024:]) == 476
    assert received + store.consume(*RESPONSES) == text


@settings(max_examples=40)
@given(st.integers(WRAP - 2000, WRAP - 1), st.lists(st.binary(max_size=1500), max_size=6))
def test_requests_of_any_length_come_through(start: int, requests: list[bytes]) -> None:
    store = Xenstore(start)
    received = b""
    for request in requests:
        rest = request
        while rest:
            rest = rest[store.produce(*REQUESTS, rest) :]
            received += store.ring.read(700)
    while data := store.ring.read(700):
        received += data
    assert received == b"".join(requests)


def test_the_guest_is_told_what_the_server_can_do() -> None:
    store = Xenstore()
    features = ServerFeature.RECONNECTION | ServerFeature.ERROR
    assert store.get(AT["server_features"]) & features == features
    assert store.get(AT["connection"]) == ConnectionState.CONNECTED
    assert store.get(AT["error"]) == RingError.NONE


@pytest.mark.parametrize("ring", [REQUESTS, RESPONSES])
def test_a_guest_that_breaks_a_ring_has_no_xenstore_from_then_on(
    ring: tuple[int, int, int, int],
) -> None:
    store = Xenstore()
    store.put(ring[3], 1025)
    store.ring.read(10)
    store.ring.write(b"x")
    assert store.notified()
    assert store.get(AT["error"]) == RingError.RINGIDX
    store.put(ring[3], 0)
    store.put(ring[2], 0)
    store.produce(*REQUESTS, b"request")
    store.notify()
    assert store.ring.read(10) == b""
    assert store.ring.write(b"x") == 0
    assert not store.notified()


def test_a_reset_ring_is_empty_and_works() -> None:
    store = Xenstore()
    store.put(REQUESTS[3], 1025)
    assert store.ring.read(10) == b""
    assert store.ring.stopped
    store.put(AT["connection"], ConnectionState.RECONNECT)
    assert store.ring.reset_wanted
    store.notified()
    store.ring.reset()
    assert store.notified()
    assert not store.ring.reset_wanted
    assert not store.ring.stopped
    assert store.get(AT["connection"]) == ConnectionState.CONNECTED
    assert store.get(AT["error"]) == RingError.NONE
    assert store.consume(*RESPONSES) == store.ring.read(10) == b""
    store.produce(*REQUESTS, b"request")
    assert store.ring.read(10) == b"request"
    assert store.ring.write(b"response") == 8
    assert store.consume(*RESPONSES) == b"response"


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, WRAP - 1)), max_size=8))
def test_no_indices_do_harm(writes: list[tuple[int, int]]) -> None:
    store = Xenstore()
    before = bytes(store.page[XENSTORE_DOMAIN_INTERFACE.size :])
    for which, value in writes:
        store.put((*REQUESTS[2:], *RESPONSES[2:])[which], value)
        store.notify()
        assert len(store.ring.read(2000)) <= 1024
        assert store.ring.write(b"abc") <= 3
    assert bytes(store.page[XENSTORE_DOMAIN_INTERFACE.size :]) == before
