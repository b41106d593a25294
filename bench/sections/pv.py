"""PV guests beside our PVH guests, with the same kernel and programs; the peer's column holds PVH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from bench.contest import Contest, run
from bench.figure import Figure, Judged, Relation, Target
from bench.gbench import END, rates
from bench.guest import Guest, GuestSpec
from bench.process_usage import cpu_seconds
from bench.sections import guest_programs
from bench.sections.boot import debian, user_space

T = TypeVar("T")

_AT_MOST_AS_LONG_AND_A_HALF = Target(Relation.AT_MOST, 1.5, Judged.RATIO)


def measure(contest: Contest) -> Iterator[Figure]:
    """Booting, what a trap costs in a tiny guest, and what Linux and its programs make of that."""
    spec = debian(contest.images, memory=512)
    run(contest.ours, replace(spec, type="pv"), user_space)
    pv, pvh = _by_turns(contest, spec, _wall_and_processor_time)
    yield Figure(
        "PV boot, beside our PVH", "s", [wall for wall, _ in pv], [wall for wall, _ in pvh],
        _AT_MOST_AS_LONG_AND_A_HALF,
    )  # fmt: skip
    yield Figure("  processor time for that", "s", [cpu for _, cpu in pv], [cpu for _, cpu in pvh])

    bounces = run(contest.ours, GuestSpec(contest.images.bounces, type="pv"), _bounces)
    for name, title, bound in (
        ("syscall_bounce", "PV system call and back", 3),
        ("page_fault_bounce", "PV page fault and back", 20),
    ):
        times = [1e6 / rate for rate in bounces[name]]
        yield Figure(title, "us", times, target=Target(Relation.AT_MOST, bound))

    programs = guest_programs.spec(contest)
    in_pv, in_pvh = _by_turns(contest, programs, guest_programs.measured_rates)
    for name in ("getppid", "pagefault", "fork_exec", "pipe_switch"):
        ours, pvhs = ([1e6 / each[name][0] for each in runs] for runs in (in_pv, in_pvh))
        yield Figure(f"  {name} in PV, beside PVH", "us", ours, pvhs)


def _bounces(guest: Guest) -> dict[str, list[float]]:
    guest.wait_for(END)
    return rates(guest.console.text())


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
