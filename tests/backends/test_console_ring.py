"""The console backend over a real event channel, with a frontend that behaves and one that does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_guest import WRAP, RingGuest

from xenolith.abi.console import XENCONS_INTERFACE
from xenolith.backends.console import ConsoleBackend

AT = XENCONS_INTERFACE.offsets
IN = (AT["in_"], 1024, AT["in_cons"], AT["in_prod"])
OUT = (AT["out"], 2048, AT["out_cons"], AT["out_prod"])


class Console(RingGuest):
    def __init__(self, start: int = 0) -> None:
        super().__init__()
        for offset in (*IN[2:], *OUT[2:]):
            self.put(offset, start)
        self.output = b""
        self.room = 0
        self.backend = ConsoleBackend(self.page, self.events, self.take_output, self.have_room)

    def take_output(self, data: bytes) -> None:
        self.output += data

    def have_room(self) -> None:
        self.room += 1

    def notify(self) -> None:
        self.events.send(self.backend.port)

    def notified(self) -> bool:
        return self.take_event(self.backend.port)


def test_output_arrives_when_the_guest_notifies_and_the_guest_hears_that_there_is_room() -> None:
    console = Console()
    console.produce(*OUT, b"hello, ")
    console.produce(*OUT, b"world")
    assert len(console.output) == 0
    console.notify()
    assert console.output == b"hello, world"
    assert console.notified()
    assert console.get(OUT[2]) == console.get(OUT[3])


def test_a_notification_without_output_costs_the_guest_nothing() -> None:
    console = Console()
    console.notify()
    assert not console.notified()
    assert console.output == b""


@settings(max_examples=40)
@given(st.integers(WRAP - 3000, WRAP - 1), st.lists(st.binary(max_size=3000), max_size=6))
def test_output_of_any_length_is_neither_lost_nor_repeated(start: int, texts: list[bytes]) -> None:
    console = Console(start)
    for text in texts:
        rest = text
        while rest:
            rest = rest[console.produce(*OUT, rest) :]
            console.notify()
    assert console.output == b"".join(texts)


def test_input_fills_the_ring_and_goes_on_when_the_guest_has_read() -> None:
    console = Console()
    text = bytes(number % 251 for number in range(1500))
    assert console.backend.write_input(text) == 1024
    assert console.notified()
    assert console.backend.write_input(text[1024:]) == 0
    assert not console.notified()
    received = console.consume(*IN)
    console.notify()
    assert console.room == 1
    assert console.backend.write_input(text[1024:]) == 476
    assert received + console.consume(*IN) == text


def test_input_of_nothing_does_not_wake_the_guest() -> None:
    console = Console()
    assert console.backend.write_input(b"") == 0
    assert not console.notified()


@pytest.mark.parametrize(("cons", "prod"), [(0, 2049), (1, 0), (0, WRAP - 1)])
def test_nonsense_in_the_output_ring_is_dropped_and_the_ring_goes_on(cons: int, prod: int) -> None:
    console = Console()
    console.put(OUT[2], cons)
    console.put(OUT[3], prod)
    console.notify()
    assert console.output == b""
    console.produce(*OUT, b"sane again")
    console.notify()
    assert console.output == b"sane again"


@pytest.mark.parametrize(("cons", "prod"), [(0, 1025), (1, 0), (0, WRAP - 1)])
def test_nonsense_in_the_input_ring_is_dropped_and_the_ring_goes_on(cons: int, prod: int) -> None:
    console = Console()
    console.put(IN[2], cons)
    console.put(IN[3], prod)
    assert console.backend.write_input(b"lost") == 0
    assert console.backend.write_input(b"typed") == 5
    assert console.consume(*IN) == b"typed"


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, WRAP - 1)), max_size=8))
def test_no_indices_do_harm(writes: list[tuple[int, int]]) -> None:
    console = Console()
    before = bytes(console.page[XENCONS_INTERFACE.size :])
    for which, value in writes:
        console.put((*IN[2:], *OUT[2:])[which], value)
        console.notify()
        assert 0 <= console.backend.write_input(b"abc") <= 3
    assert bytes(console.page[XENCONS_INTERFACE.size :]) == before


def test_a_guest_that_closes_its_port_is_left_in_peace() -> None:
    console = Console()
    console.events.close(console.backend.port)
    assert console.backend.write_input(b"typed") == 5
    assert not console.notified()
