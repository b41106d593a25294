"""The alarm: rings once, not early, and from any thread."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenolith.machine.alarm import Alarm

MILLISECOND = 1_000_000


def waited(alarm: Alarm) -> int:
    """How long, in ns, until it rings."""
    start = time.monotonic_ns()
    alarm.wait()
    return time.monotonic_ns() - start


@pytest.mark.parametrize("delay", [MILLISECOND, 5 * MILLISECOND])
def test_it_rings_after_the_delay(delay: int) -> None:
    alarm = Alarm()
    start = time.monotonic_ns()
    alarm.ring_after(delay)
    alarm.wait()
    assert time.monotonic_ns() - start >= delay
    alarm.close()


@pytest.mark.parametrize("delay", [0, -1, -(1 << 63)])
def test_a_moment_that_has_passed_rings_at_once(delay: int) -> None:
    alarm = Alarm()
    alarm.ring_after(delay)
    assert waited(alarm) < 100 * MILLISECOND
    alarm.close()


def test_arming_again_replaces_the_delay() -> None:
    alarm = Alarm()
    alarm.ring_after(3600 * 1000 * MILLISECOND)
    alarm.ring_after(MILLISECOND)
    assert waited(alarm) < 1000 * MILLISECOND
    alarm.close()


def test_a_thread_that_waits_hears_of_an_earlier_moment() -> None:
    alarm = Alarm()
    alarm.ring_after(3600 * 1000 * MILLISECOND)
    thread = threading.Thread(target=alarm.wait)
    thread.start()
    alarm.ring_now()
    thread.join(5)
    assert not thread.is_alive()
    alarm.close()


@settings(max_examples=50)
@given(st.integers(0, 1 << 70))
def test_no_delay_is_too_long(delay: int) -> None:
    ALARM.ring_after(delay)
    ALARM.ring_now()
    assert waited(ALARM) < 1000 * MILLISECOND


def test_ringing_now_is_never_lost_to_another_thread_that_sets_a_delay() -> None:
    """The scheduler's race: one thread rings, the other arms and then looks whether somebody rang."""
    alarm = Alarm()
    for _ in range(300):
        rung = threading.Event()

        def ring(rung: threading.Event = rung) -> None:
            rung.set()
            alarm.ring_now()

        thread = threading.Thread(target=ring)
        thread.start()
        alarm.ring_after(3600 * 1000 * MILLISECOND)
        if rung.is_set():
            alarm.ring_now()
        thread.join()
        assert waited(alarm) < 1000 * MILLISECOND
    alarm.close()


ALARM = Alarm()
