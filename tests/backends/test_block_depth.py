"""When a disk's requests are served: at once, or many of them together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from block_frontend import DATA, SECTORS, Frontend, FrontRing

from xenolith.abi.blkif import BlkifOp, BlkifRsp
from xenolith.backends.block.depth import QueueDepth

FIRST_TRIAL = 16


def announce(depth: QueueDepth, together: int, times: int) -> list[bool]:
    """Announce requests so often, each time so many that would come if they are waited for."""
    waits = []
    for _ in range(times):
        waits.append(depth.should_wait())
        if waits[-1]:
            depth.came(together)
    return waits


def test_requests_that_come_alone_are_served_at_once_but_for_ever_rarer_trials() -> None:
    waits = announce(QueueDepth(), 1, 5000)
    trials = [index for index, wait in enumerate(waits) if wait]
    assert len(trials) < 12
    gaps = [later - earlier for earlier, later in pairwise(trials)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 1024


def test_requests_that_come_together_are_waited_for_from_the_first_trial_on() -> None:
    waits = announce(QueueDepth(), 32, 200)
    assert waits == [False] * (FIRST_TRIAL - 1) + [True] * (200 - FIRST_TRIAL + 1)


def test_once_is_no_reason_to_wait_no_more_but_twice_is() -> None:
    depth = QueueDepth()
    announce(depth, 32, 100)
    assert announce(depth, 1, 1) == [True]
    assert announce(depth, 32, 10) == [True] * 10
    assert announce(depth, 1, 4) == [True, True, False, False]


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    path = tmp_path / "raw.img"
    path.write_bytes(os.urandom(SECTORS * 512))
    made = Frontend(path)
    made.connect()
    yield made
    made.disconnect()
    made.close()


def put(ring: FrontRing, count: int) -> int:
    """Put reads into the ring and announce them where the backend asks for it; how many were answered."""
    for number in range(count):
        ring.direct(BlkifOp.READ, 8 * number, [(DATA + number, 0, 7)], number=number)
    ring.kick()
    answers = ring.responses()
    assert all(answer.status == BlkifRsp.OKAY for answer in answers)
    return len(answers)


def test_what_waits_is_served_together_and_in_full(frontend: Frontend) -> None:
    ring = frontend.rings[0]
    for _ in range(FIRST_TRIAL - 1):
        assert put(ring, 1) == 1
    assert put(ring, 20) == 0
    # However often the frontend announces them, they are served once.
    ring.kick()
    (serve,) = frontend.deferred
    serve()
    assert len(ring.responses()) == 20
    assert put(ring, 3) == 0
    assert len(frontend.deferred) == 2


def test_what_waits_when_the_frontend_leaves_is_left(frontend: Frontend) -> None:
    ring = frontend.rings[0]
    for _ in range(FIRST_TRIAL):
        put(ring, 1)
    assert frontend.disconnect()
    (serve,) = frontend.deferred
    serve()
    assert ring.responses() == []
