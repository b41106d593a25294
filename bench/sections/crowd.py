"""Many small domains created at once: whether all of them come up, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.contest import Contest
from bench.errors import BenchError
from bench.figure import Figure, Relation, Target
from bench.guest import GuestSpec, Hypervisor
from bench.sections.boot import MARKER, debian

_MEMORY_MIB = 80
"""The least in which Debian's kernel boots. In 64 MiB it runs out of memory under either."""

_DEADLINE_S = 600.0


def measure(contest: Contest) -> Iterator[Figure]:
    """How many come up, and the time until the last of them has."""
    count = contest.effort.domains
    if count == 0:
        return
    spec = debian(contest.images, _MEMORY_MIB)
    up, seconds = _boot_at_once(contest.ours, spec, count)
    peer_up: list[float] = []
    peer_seconds: list[float] = []
    if contest.peer is not None:
        reached, took = _boot_at_once(contest.peer, spec, count)
        peer_up, peer_seconds = [reached], [took]
    name = f"{count} domains, {_MEMORY_MIB} MiB"
    target = Target(Relation.AT_LEAST, count)
    yield Figure(f"{name}: up", "", [up], peer_up, target)
    yield Figure(f"{name}: last up", "s", [seconds], peer_seconds)


def _boot_at_once(hypervisor: Hypervisor, spec: GuestSpec, count: int) -> tuple[float, float]:
    """How many guests came up, and seconds until the last of them did."""
    with ExitStack() as stack:
        began = time.perf_counter()
        guests = []
        for _ in range(count):
            guests.append(hypervisor.start(spec))
            stack.callback(guests[-1].stop)
        up, last = 0, 0.0
        for guest in guests:
            try:
                guest.wait_for(MARKER, began + _DEADLINE_S - time.perf_counter())
            except BenchError:
                continue
            up += 1
            last = time.perf_counter() - began
        return up, last
