"""Who reads a wire: the I/O thread while the guest runs, the hypervisor thread while it sleeps."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from netfront import Loop

from xenolith.backends.io_thread import IoThread
from xenolith.backends.net.line import Line
from xenolith.machine.doze import Doze
from xenolith.net.frame import NOTHING, Frame
from xenolith.net.wire import MessageWire

FRAME = Frame(b"f" * 60, NOTHING)


class Wired:
    """A line, both of its threads' loops, and the other end of its wire."""

    def __init__(self) -> None:
        self.loop, self.doze = Loop(), Doze()
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer = MessageWire(right.detach())
        # What is posted to the hypervisor thread is done at once: both threads are this one.
        self.line = Line(
            IoThread(self.loop, lambda call: call(), self.doze), MessageWire(left.detach())
        )
        self.frames: list[Frame] = []
        self.line.ready = self.take_all
        self.take_all()

    def take_all(self) -> None:
        while (frame := self.line.take()) is not None:
            self.frames.append(frame)

    def sleep(self) -> None:
        self.doze.sleep(0.01, lambda: False)

    def stay_awake(self) -> None:
        """For so long that the I/O thread watches again."""
        assert select.select([self.doze], [], [], 10)[0]
        self.doze.overdue()


@pytest.fixture
def wired() -> Iterator[Wired]:
    made = Wired()
    yield made
    made.line.close()
    made.loop.step()
    made.peer.close()


def test_the_io_thread_reads_while_the_guest_runs(wired: Wired) -> None:
    wired.peer.send([FRAME])
    assert wired.loop.step()
    assert wired.frames == [FRAME]


def test_the_hypervisor_thread_reads_what_ends_its_sleep_and_the_io_thread_is_left_alone(
    wired: Wired,
) -> None:
    wired.sleep()
    wired.peer.send([FRAME])
    assert not wired.loop.step()
    wired.sleep()
    assert wired.frames == [FRAME]
    assert not wired.loop.step()


def test_the_io_thread_reads_again_when_the_guest_has_run_for_a_while(wired: Wired) -> None:
    wired.sleep()
    wired.peer.send([FRAME, FRAME])
    wired.stay_awake()
    assert wired.loop.step()
    assert wired.frames == [FRAME, FRAME]


@pytest.mark.parametrize("data", [b"", b"f" * 14])
def test_small_frames_take_no_more_memory_than_large_ones(wired: Wired, data: bytes) -> None:
    wired.line.ready = lambda: None
    sent = 0
    while sent < 50_000 and (count := wired.peer.send([Frame(data, NOTHING)] * 64)):
        sent += count
        wired.loop.step()
    assert 1000 < sent < 20_000
    wired.take_all()
    # It watches again, and reads.
    assert wired.loop.step() and wired.loop.step()
    assert wired.peer.send([FRAME])


def test_a_wire_that_is_lost_during_a_sleep_is_told_of_and_watched_no_more(wired: Wired) -> None:
    wired.sleep()
    wired.peer.close()
    wired.sleep()
    assert wired.line.lost is not None
    wired.loop.step()
    wired.sleep()
    assert not wired.loop.step()
    wired.peer = MessageWire(socket.socket(socket.AF_UNIX).detach())
