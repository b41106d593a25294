"""PV guests beside our PVH guests, with the same kernel and programs; the peer's column holds PVH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from bench.contest import Contest, run
from bench.figure import Figure, Judged, Relation, Target
from bench.guest import Guest, GuestSpec
from bench.process_usage import cpu_seconds
from bench.sections import guest_programs
from bench.sections.boot import debian, user_space

T = TypeVar("T")

_AT_MOST_AS_LONG_AND_A_HALF = Target(Relation.AT_MOST, 1.5, Judged.RATIO)


def measure(contest: Contest) -> Iterator[Figure]:
    """Booting, and what goes through a trap: a whole system call, and a whole page fault of a program."""
    spec = debian(contest.images, memory=512)
    run(contest.ours, replace(spec, type="pv"), user_space)
    pv, pvh = _by_turns(contest, spec, _wall_and_processor_time)
    yield Figure(
        "PV boot, beside our PVH", "s", [wall for wall, _ in pv], [wall for wall, _ in pvh],
        _AT_MOST_AS_LONG_AND_A_HALF,
    )  # fmt: skip
    yield Figure("  processor time for that", "s", [cpu for _, cpu in pv], [cpu for _, cpu in pvh])

    programs = guest_programs.spec(contest)
    in_pv, in_pvh = _by_turns(contest, programs, guest_programs.measured_rates)
    for name, title, target in (
        ("getppid", "PV getppid, beside PVH", Target(Relation.AT_MOST, 3)),
        ("pagefault", "PV page fault, beside PVH", Target(Relation.AT_MOST, 20)),
        ("fork_exec", "PV fork + exec, beside PVH", None),
    ):
        microseconds = [[1e6 / rates[name][0] for rates in runs] for runs in (in_pv, in_pvh)]
        yield Figure(title, "us", *microseconds, target)


def _by_turns(
    contest: Contest, spec: GuestSpec, measure_guest: Callable[[Guest], T]
) -> tuple[list[T], list[T]]:
    """Measure a guest as PV and as PVH by turns."""
    pv, pvh = [], []
    for _ in range(contest.effort.pairs):
        pv.append(run(contest.ours, replace(spec, type="pv"), measure_guest))
        pvh.append(run(contest.ours, spec, measure_guest))
    return pv, pvh


def _wall_and_processor_time(guest: Guest) -> tuple[float, float]:
    """Seconds until user space, and processor time of the guest's process until then."""
    return user_space(guest), cpu_seconds(guest.pid)
