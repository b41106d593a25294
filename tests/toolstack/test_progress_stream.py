"""What `xl` hears of long work in a domain's process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from xenolith.toolstack.client import ToolstackError
from xenolith.toolstack.progress_stream import ProgressSender, follow

Ends = tuple[socket.socket, ProgressSender]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, ProgressSender(theirs)


def test_it_hears_how_far_the_work_has_come(ends: Ends) -> None:
    stream, sender = ends
    for done in range(0, 10_001):
        sender(done, 10_000)
    sender.end(None)
    told: list[tuple[int, int]] = []
    follow(stream, lambda done, total: told.append((done, total)))
    assert told == [(100 * percent, 10_000) for percent in range(101)]


def test_nothing_to_do_is_done_at_once(ends: Ends) -> None:
    stream, sender = ends
    sender(0, 0)
    sender.end(None)
    told: list[tuple[int, int]] = []
    follow(stream, lambda done, total: told.append((done, total)))
    assert told == [(0, 0)]


def test_it_hears_why_the_work_failed(ends: Ends) -> None:
    stream, sender = ends
    sender(0, 100)
    sender.end("disk.vhd is in use")
    with pytest.raises(ToolstackError, match=r"^disk\.vhd is in use$"):
        follow(stream, lambda done, total: None)


def test_work_that_never_ends_has_ended_with_its_domain(ends: Ends) -> None:
    stream, sender = ends
    sender(0, 100)
    sender._socket.close()
    with pytest.raises(ToolstackError, match="the domain has ended"):
        follow(stream, lambda done, total: None)


def test_work_that_nobody_waits_for_stops(ends: Ends) -> None:
    stream, sender = ends
    sender(0, 100)
    stream.close()
    with pytest.raises(BrokenPipeError):
        sender(1, 100)
    # How it ended interests nobody either.
    sender.end("[Errno 32] Broken pipe")
