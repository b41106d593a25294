"""The sleep of a thread: what ends it, and who watches lent descriptors meanwhile."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from xenolith.machine.doze import Doze

SOON_S = 0.02
LONG_S = 10.0


class Pipe:
    """A lender."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self.may_be_lent = True
        self.log: list[str] = []

    def fileno(self) -> int:
        return self._reader

    def lend(self) -> bool:
        self.log.append("lend")
        return self.may_be_lent

    def give_back(self) -> None:
        self.log.append("give back")

    def readable(self) -> None:
        self.log.append("readable")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def seconds_asleep(doze: Doze, seconds: float | None, awake: bool = False) -> float:
    began = time.monotonic()
    doze.sleep(seconds, lambda: awake)
    return time.monotonic() - began


def test_a_sleep_ends_in_time() -> None:
    assert SOON_S <= seconds_asleep(Doze(), SOON_S) < LONG_S


def test_who_is_awake_does_not_sleep() -> None:
    assert seconds_asleep(Doze(), None, awake=True) < LONG_S


def test_another_thread_ends_a_sleep_however_often_it_tries() -> None:
    doze, awake = Doze(), threading.Event()

    def wake() -> None:
        time.sleep(SOON_S)
        awake.set()
        for _ in range(3):
            doze.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    began = time.monotonic()
    while not awake.is_set():
        doze.sleep(LONG_S, awake.is_set)
    assert time.monotonic() - began < LONG_S
    thread.join()
    # What came too late for that sleep does not keep the next ones from being sleeps.
    seconds_asleep(doze, SOON_S)
    assert seconds_asleep(doze, SOON_S) >= SOON_S


def test_nobody_is_woken_who_does_not_sleep() -> None:
    doze = Doze()
    doze.wake()
    assert seconds_asleep(doze, SOON_S) >= SOON_S


def is_overdue(doze: Doze, seconds: float) -> bool:
    return bool(select.select([doze], [], [], seconds)[0])


def test_a_lent_descriptor_ends_a_sleep_and_is_given_back_a_while_later(pipe: Pipe) -> None:
    doze = Doze()
    doze.watch(pipe)
    os.write(pipe.writer, b"x")
    assert seconds_asleep(doze, None) < LONG_S
    assert pipe.log == ["lend", "readable"]
    assert is_overdue(doze, LONG_S)
    doze.overdue()
    assert pipe.log == ["lend", "readable", "give back"]
    assert not is_overdue(doze, SOON_S)


def test_who_sleeps_again_soon_gives_nothing_back(pipe: Pipe) -> None:
    doze = Doze()
    doze.watch(pipe)
    seconds_asleep(doze, None, awake=True)
    assert is_overdue(doze, LONG_S)
    pipe.may_be_lent = False
    thread = threading.Thread(target=doze.sleep, args=(0.2, lambda: False))
    thread.start()
    time.sleep(SOON_S)
    # Somebody had seen that it rang, but only now comes to look.
    doze.overdue()
    thread.join()
    assert pipe.log == ["lend", "lend"]


def test_a_descriptor_that_is_not_lent_does_not_end_a_sleep(pipe: Pipe) -> None:
    doze = Doze()
    doze.watch(pipe)
    pipe.may_be_lent = False
    os.write(pipe.writer, b"x")
    assert seconds_asleep(doze, SOON_S) >= SOON_S
    doze.forget(pipe)
    doze.forget(pipe)
    pipe.may_be_lent = True
    assert seconds_asleep(doze, SOON_S) >= SOON_S
    assert pipe.log == ["lend"]


def test_a_moment_that_is_further_away_than_the_host_can_wait(pipe: Pipe) -> None:
    doze = Doze()
    doze.watch(pipe)
    os.write(pipe.writer, b"x")
    assert seconds_asleep(doze, 1e30) < LONG_S
