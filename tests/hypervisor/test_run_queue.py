"""The run queue: order, and that no vCPU waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.hypervisor.run_queue import RunQueue

SLICE = 100


def drained(queue: RunQueue[str]) -> list[str]:
    taken = []
    while queue:
        taken.append(queue.take())
    return taken


def test_new_ones_take_turns_in_order() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    for name in "abc":
        queue.add(name)
    assert drained(queue) == ["a", "b", "c"]
    with pytest.raises(IndexError):
        queue.take()


def test_the_woken_go_first_in_the_order_they_were_woken() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add("spinner")
    queue.add_woken("first")
    queue.add_woken("second")
    assert drained(queue) == ["first", "second", "spinner"]


def test_one_that_is_interrupted_goes_on_with_what_is_left_of_its_turn() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add("a")
    queue.add("b")
    for left in (60, 20):
        name = queue.take()
        queue.charge(name, 40)
        queue.add_interrupted(name)
        assert (name, queue.time_left(name)) == ("a", left)
    assert queue.take() == "a"
    queue.charge("a", 40)
    queue.add_interrupted("a")
    assert drained(queue) == ["b", "a"]
    assert queue.time_left("a") == SLICE


def test_sleep_earns_a_share_of_a_turn() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add("spinner")
    queue.charge("sleeper", SLICE)
    # One that runs, one that waits, and the sleeper.
    queue.add_woken("sleeper", 30)
    assert queue.time_left("sleeper") == 10
    assert queue.take() == "sleeper"
    queue.add_woken("sleeper", 1000 * SLICE)
    assert queue.time_left("sleeper") == SLICE


def test_one_that_uses_no_more_than_its_share_never_waits() -> None:
    """It is woken every slice, and runs for a fifth of one."""
    queue: RunQueue[str] = RunQueue(SLICE)
    for name in "abc":
        queue.add(name)
    for _ in range(100):
        queue.add_woken("sleeper", SLICE)
        assert queue.take() == "sleeper"
        queue.charge("sleeper", SLICE // 5)
        spinner = queue.take()
        queue.charge(spinner, SLICE)
        queue.add_interrupted(spinner)


def test_the_woken_come_before_the_interrupted() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add_woken("woken")
    queue.add_interrupted("interrupted")
    assert drained(queue) == ["woken", "interrupted"]


def test_whoever_yields_goes_behind_all_others() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    for name in "abc":
        queue.add(name)
    name = queue.take()
    queue.end_turn(name)
    queue.add_interrupted(name)
    assert drained(queue) == ["b", "c", "a"]


def test_another_slice_is_that_of_turns_that_begin_later() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add("a")
    queue.slice_ns = 3 * SLICE
    queue.add("b")
    assert [queue.time_left(name) for name in "ab"] == [SLICE, 3 * SLICE]
    queue.charge("a", SLICE)
    queue.add_interrupted("a")
    assert queue.time_left("a") == 3 * SLICE


def test_discarding_takes_out_of_either_part_of_the_queue() -> None:
    queue: RunQueue[str] = RunQueue(SLICE)
    queue.add("waiting")
    queue.add_woken("woken")
    queue.discard("waiting")
    queue.discard("woken")
    queue.discard("stranger")
    assert not queue


@given(
    st.lists(
        st.tuples(st.integers(1, SLICE), st.sampled_from(["blocks", "is interrupted", "yields"])),
        min_size=30,
        max_size=60,
    )
)
def test_no_vcpu_waits_longer_than_the_turns_of_all_others(runs: list[tuple[int, str]]) -> None:
    """Those that block are woken at once, which is the worst for all others."""
    queue: RunQueue[str] = RunQueue(SLICE)
    names = "abcd"
    for name in names:
        queue.add(name)
    waited = dict.fromkeys(names, 0)
    for duration, then in runs:
        name = queue.take()
        used = min(duration, queue.time_left(name))
        for other in names:
            waited[other] = 0 if other == name else waited[other] + used
        queue.charge(name, used)
        if then == "yields":
            queue.end_turn(name)
        if then == "blocks":
            queue.add_woken(name)
        else:
            queue.add_interrupted(name)
        # A turn that has begun may be followed by a whole one before it is another's.
        assert max(waited.values()) <= 2 * (len(names) - 1) * SLICE
