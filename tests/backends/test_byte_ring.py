"""The byte ring against a queue, with indices anywhere in their 32 bits and with a hostile other end."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xenolith.backends.byte_ring import ByteRing, RingError

SIZE = 16
DATA, CONS, PROD = 32, 8, 20
WRAP = 1 << 32
INDICES = st.one_of(st.integers(0, WRAP - 1), st.integers(WRAP - 40, WRAP - 1))


class Page:
    """A page with a ring, in the middle of other things that must stay as they are."""

    def __init__(self, start: int = 0) -> None:
        self.page = memoryview(bytearray(b"\xee" * 64))
        self.set_indices(start, start)
        self.ring = ByteRing(self.page, DATA, SIZE, CONS, PROD)

    def set_indices(self, cons: int, prod: int) -> None:
        self.page[CONS : CONS + 4] = (cons % WRAP).to_bytes(4, "little")
        self.page[PROD : PROD + 4] = (prod % WRAP).to_bytes(4, "little")

    def indices(self) -> tuple[int, int]:
        return (
            int.from_bytes(self.page[CONS : CONS + 4], "little"),
            int.from_bytes(self.page[PROD : PROD + 4], "little"),
        )

    def surroundings(self) -> bytes:
        return (
            bytes(self.page[:8])
            + bytes(self.page[12:20])
            + bytes(self.page[24:32])
            + bytes(self.page[48:])
        )


class RingAgainstAQueue(RuleBasedStateMachine):
    @initialize(start=INDICES)
    def begin(self, start: int) -> None:
        self.page = Page(start)
        self.model: deque[int] = deque()

    @rule(data=st.binary(max_size=40))
    def write(self, data: bytes) -> None:
        count = self.page.ring.write(data)
        assert count == min(len(data), SIZE - len(self.model))
        self.model.extend(data[:count])

    @rule(limit=st.integers(0, 40))
    def read(self, limit: int) -> None:
        expected = bytes(self.model.popleft() for _ in range(min(limit, len(self.model))))
        assert self.page.ring.read(limit) == expected

    @rule()
    def reset(self) -> None:
        self.page.ring.reset()
        self.model.clear()

    @invariant()
    def the_indices_tell_how_much_there_is(self) -> None:
        cons, prod = self.page.indices()
        assert (prod - cons) % WRAP == len(self.model)

    @invariant()
    def nothing_else_is_touched(self) -> None:
        assert self.page.surroundings() == b"\xee" * len(self.page.surroundings())


TestRingAgainstAQueue = RingAgainstAQueue.TestCase
TestRingAgainstAQueue.settings = settings(max_examples=60, stateful_step_count=30)


@given(INDICES, INDICES, st.booleans(), st.binary(max_size=40))
def test_whatever_the_indices_are_nothing_else_is_touched(
    cons: int, prod: int, reads: bool, data: bytes
) -> None:
    page = Page()
    page.set_indices(cons, prod)
    before = page.surroundings()
    try:
        if reads:
            assert len(page.ring.read(1000)) == (prod - cons) % WRAP
        else:
            page.ring.write(data)
    except RingError:
        assert (prod - cons) % WRAP > SIZE
        assert page.indices() == (cons, prod)
    else:
        assert (prod - cons) % WRAP <= SIZE
    assert page.surroundings() == before


@pytest.mark.parametrize(("cons", "prod"), [(0, SIZE + 1), (1, 0), (0, WRAP - 1)])
def test_indices_too_far_apart_are_an_error_until_they_are_reset(cons: int, prod: int) -> None:
    page = Page()
    page.set_indices(cons, prod)
    with pytest.raises(RingError):
        page.ring.read(1)
    with pytest.raises(RingError):
        page.ring.write(b"x")
    page.ring.reset()
    assert page.ring.read(1) == b""
    assert page.ring.write(b"x") == 1


def test_a_full_ring_takes_nothing_more() -> None:
    page = Page(WRAP - 3)
    assert page.ring.write(bytes(range(SIZE))) == SIZE
    assert page.ring.write(b"x") == 0
    assert page.ring.read(3) == bytes(range(3))
    assert page.ring.write(b"abcdef") == 3
    assert page.ring.read(100) == bytes(range(3, SIZE)) + b"abc"
