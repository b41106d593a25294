"""What the tests of the toolstack share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xenolith.machine.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """An event loop that fails the test instead of running for ever."""
    event_loop = EventLoop()
    overdue: list[bool] = []

    def give_up() -> None:
        overdue.append(True)
        event_loop.stop()

    event_loop.call_later(20, give_up)
    yield event_loop
    event_loop.close()
    assert not overdue, "the loop ran into the test's deadline"
