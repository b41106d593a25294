"""How fast programs run inside a guest: guests/bench/gbench.c as the init of Debian's kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.contest import Contest
from bench.figure import Figure, Judged, Relation, Target
from bench.gbench import END, rates
from bench.guest import Guest, GuestSpec


class _Operation(NamedTuple):
    """An operation of the program, and how its rate per second is shown."""

    name: str
    title: str
    unit: str
    shown: Callable[[float], float]
    target: Target


def _ratio(bound: float) -> Target:
    return Target(Relation.AT_LEAST, bound, Judged.RATIO)


_OPERATIONS = (
    _Operation("pagefault", "page faults", "k/s", lambda rate: rate / 1e3, _ratio(1.2)),
    _Operation("memcpy", "memcpy, 8 MiB", "MB/s", lambda rate: rate / 1e6, _ratio(1.0)),
    _Operation("fork_exec", "fork + exec + wait", "/s", lambda rate: rate, _ratio(0.9)),
    _Operation("pipe_switch", "pipe switches", "k/s", lambda rate: rate / 1e3, _ratio(0.8)),
    _Operation("getppid", "getppid", "us", lambda rate: 1e6 / rate, Target(Relation.AT_MOST, 2)),
)


def spec(contest: Contest) -> GuestSpec:
    """A guest whose init is the program, with one vCPU."""
    command_line = f"mitigations=off quiet GBENCH_MS={contest.effort.guest_ms}"
    return GuestSpec(contest.images.kernel, contest.images.benchmark_ramdisk, command_line, 512)


def measured_rates(guest: Guest) -> dict[str, list[float]]:
    """What the program has measured, per second and by operation."""
    guest.wait_for(END)
    return rates(guest.console.text())


def measure(contest: Contest) -> Iterator[Figure]:
    """One vCPU; all operations in one guest, one after the other."""
    ours, peer = contest.alternate(spec(contest), measured_rates)
    for operation in _OPERATIONS:
        yield Figure(
            operation.title,
            operation.unit,
            [operation.shown(run[operation.name][0]) for run in ours],
            [operation.shown(run[operation.name][0]) for run in peer],
            operation.target,
        )
