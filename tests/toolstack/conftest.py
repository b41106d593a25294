"""What the tests of the toolstack share: an event loop, and a host with a daemon of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenolith.machine.event_loop import EventLoop

from .host import Host

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "src"


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


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose domains run the fake machine."""
    run_dir = tmp_path / "run"
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(run_dir))
    monkeypatch.setenv("XENOLITH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENOLITH_MACHINE", "fake_machine:build")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCES), str(HERE)]))
    made = Host(run_dir)
    yield made
    made.clean_up()
