"""The event loop: order, cancelling, posts, descriptors, and that it sleeps when it has nothing to do."""

from __future__ import annotations

import os
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from xenolith.machine.event_loop import HANGUP, READ, WRITE, EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """An event loop that fails the test instead of running for ever."""
    event_loop = EventLoop()
    overdue: list[bool] = []

    def give_up() -> None:
        overdue.append(True)
        event_loop.stop()

    deadline = event_loop.call_later(5, give_up)
    yield event_loop
    deadline.cancel()
    event_loop.close()
    assert not overdue, "the loop ran into the test's deadline"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_timers_fire_by_deadline_whatever_the_order_they_were_set_in(loop: EventLoop) -> None:
    fired: list[float] = []
    delays = [0.001 * number for number in range(1, 20)]
    for delay in random.Random(1).sample(delays, len(delays)):
        loop.call_later(delay, partial(fired.append, delay))
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert fired == delays


def test_timers_with_one_deadline_fire_in_the_order_they_were_set(loop: EventLoop) -> None:
    fired: list[int] = []
    when = time.monotonic()
    for number in range(10):
        loop.call_at(when, partial(fired.append, number))
    loop.call_at(when, loop.stop)
    loop.run()
    assert fired == list(range(10))


def test_no_timer_fires_early(loop: EventLoop) -> None:
    late: list[float] = []
    for number in range(20):
        when = time.monotonic() + 0.0007 * number

        def check(when: float = when) -> None:
            late.append(time.monotonic() - when)

        loop.call_at(when, check)
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert len(late) == 20
    assert min(late) >= 0


def test_a_cancelled_timer_never_fires(loop: EventLoop) -> None:
    fired: list[str] = []
    doomed = loop.call_later(0.002, lambda: fired.append("doomed"))
    canceller = loop.call_later(0.001, doomed.cancel)
    loop.call_later(0.005, loop.stop)
    loop.run()
    assert not fired
    canceller.cancel()


def test_timers_that_are_set_and_cancelled_do_not_pile_up(loop: EventLoop) -> None:
    for _ in range(10_000):
        loop.call_later(3600, lambda: None).cancel()
    assert len(loop._timers) < 1000


def test_posts_run_in_order_on_the_loop_s_thread(loop: EventLoop) -> None:
    ran: list[tuple[int, int]] = []

    def note(number: int) -> None:
        ran.append((number, threading.get_ident()))

    def post_all() -> None:
        for number in range(100):
            loop.post(partial(note, number))
        loop.post(loop.stop)

    thread = threading.Thread(target=post_all)
    thread.start()
    loop.run()
    thread.join()
    assert ran == [(number, threading.get_ident()) for number in range(100)]


def test_no_post_of_many_threads_is_lost(loop: EventLoop) -> None:
    total = [0]
    per_thread = 500

    def add() -> None:
        total[0] += 1
        if total[0] == 4 * per_thread:
            loop.stop()

    def post() -> None:
        for _ in range(per_thread):
            loop.post(add)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    assert total[0] == 4 * per_thread


def test_a_post_that_posts_itself_leaves_room_for_others(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    def again() -> None:
        loop.post(again)

    loop.watch(ours.fileno(), READ, lambda _events: loop.stop())
    loop.post(again)
    theirs.send(b"x")
    loop.run()
    loop.forget(ours.fileno())


def test_readiness_is_level_triggered(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    read: list[bytes] = []

    def on_ready(events: int) -> None:
        assert events == READ
        read.append(ours.recv(1))
        if len(read) == 3:
            loop.stop()

    loop.watch(ours.fileno(), READ, on_ready)
    theirs.send(b"abc")
    loop.run()
    loop.forget(ours.fileno())
    assert read == [b"a", b"b", b"c"]


def test_modify_changes_what_is_waited_for(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _theirs = pair
    seen: list[int] = []

    def on_ready(events: int) -> None:
        seen.append(events)
        loop.stop()

    loop.watch(ours.fileno(), READ, on_ready)
    loop.modify(ours.fileno(), WRITE)
    loop.run()
    loop.forget(ours.fileno())
    assert seen == [WRITE]


def test_hang_up_is_told_without_asking(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    seen: list[int] = []

    def on_ready(events: int) -> None:
        seen.append(events)
        loop.stop()

    loop.watch(ours.fileno(), 0, on_ready)
    theirs.close()
    loop.run()
    loop.forget(ours.fileno())
    assert seen[0] & HANGUP


def test_a_handler_may_forget_another_that_is_ready_too(loop: EventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def on_ready(number: int, _events: int) -> None:
        called.append(number)
        for ours, _ in pairs:
            loop.forget(ours.fileno())
        loop.stop()

    for number, (ours, theirs) in enumerate(pairs):
        loop.watch(ours.fileno(), READ, partial(on_ready, number))
        theirs.send(b"x")
    loop.run()
    assert len(called) == 1
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_an_event_of_a_closed_descriptor_is_not_told_to_who_reuses_its_number(
    loop: EventLoop,
) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    fresh: list[socket.socket] = []
    wrongly_told: list[int] = []

    def replace_the_other(other: socket.socket, _events: int) -> None:
        """Close a descriptor that is ready as well, and watch a new one of the same number."""
        for ours, _ in pairs:
            loop.forget(ours.fileno())
        number = other.fileno()
        other.close()
        fresh.extend(socket.socketpair())
        assert fresh[0].fileno() == number
        loop.watch(number, READ, wrongly_told.append)
        loop.call_later(0.002, loop.stop)

    for number, (ours, theirs) in enumerate(pairs):
        other = pairs[1 - number][0]
        loop.watch(ours.fileno(), READ, partial(replace_the_other, other))
        theirs.send(b"x")
    loop.run()
    assert not wrongly_told
    loop.forget(fresh[0].fileno())
    for sock in (*pairs[0], *pairs[1], *fresh):
        sock.close()


def test_forgetting_what_is_not_watched_is_harmless(loop: EventLoop) -> None:
    loop.forget(12345)


def test_the_loop_sleeps_while_nothing_is_due(loop: EventLoop) -> None:
    rounds = 0
    poll = select.epoll.poll

    class CountingEpoll:
        """The loop's own epoll, counting how often the loop goes round."""

        def __init__(self, epoll: select.epoll) -> None:
            self._epoll = epoll

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            nonlocal rounds
            rounds += 1
            return poll(self._epoll, timeout)

        def close(self) -> None:
            self._epoll.close()

    loop._epoll = CountingEpoll(loop._epoll)  # type: ignore[assignment]
    loop.call_later(0.05, loop.stop)
    before = time.thread_time()
    loop.run()
    assert rounds <= 3
    assert time.thread_time() - before < 0.02


def test_the_loop_can_be_run_again(loop: EventLoop) -> None:
    ran: list[int] = []
    for number in range(3):
        loop.post(partial(ran.append, number))
        loop.post(loop.stop)
        loop.run()
    assert ran == [0, 1, 2]


def test_closing_gives_all_descriptors_back() -> None:
    before = set(os.listdir("/proc/self/fd"))
    EventLoop().close()
    assert set(os.listdir("/proc/self/fd")) == before
