"""The credit of an interface that is limited."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xenolith.net.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_an_interval_has_its_bytes_and_no_more() -> None:
    clock = Clock()
    bucket = TokenBucket(10_000, 50_000, clock)
    assert bucket.take(6_000) is None
    assert bucket.take(4_000) is None
    assert bucket.take(1) == 50.05
    clock.now = 50.05
    assert bucket.take(10_000) is None
    assert bucket.take(10_000) == 50.05 + 0.05


def test_what_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    bucket = TokenBucket(10_000, 50_000, clock)
    clock.now += 100
    assert bucket.take(10_000) is None
    assert bucket.take(5_000) is None
    assert bucket.take(10_000) is not None


def test_a_packet_larger_than_an_interval_waits_for_several() -> None:
    clock = Clock()
    bucket = TokenBucket(10_000, 50_000, clock)
    waited = 0
    while (when := bucket.take(65_000)) is not None:
        assert when > clock.now
        clock.now = when
        waited += 1
    assert waited == 6


@given(st.lists(st.integers(60, 65_549), min_size=20, max_size=60), st.integers(1_000, 1_000_000))
def test_the_rate_is_kept(sizes: list[int], per_interval: int) -> None:
    clock = Clock()
    bucket = TokenBucket(per_interval, 50_000, clock)
    for size in sizes:
        while (when := bucket.take(size)) is not None:
            clock.now = when
    allowed = per_interval * ((clock.now - 50.0) / 0.05 + 1) + 131_072
    assert sum(sizes) <= allowed * 1.001
