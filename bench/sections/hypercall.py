"""What a hypercall costs that does next to nothing, seen from a tiny guest in kernel mode."""

from __future__ import annotations

from collections.abc import Iterator

from bench.contest import Contest, run
from bench.figure import Figure, Relation, Target
from bench.gbench import END, rates
from bench.guest import Guest, GuestSpec


def _measure_guest(guest: Guest) -> list[float]:
    guest.wait_for(END)
    return rates(guest.console.text())["hypercall"]


def measure(contest: Contest) -> Iterator[Figure]:
    """xen_version(XENVER_version), many thousand in a row; time is the guest's TSC."""
    samples = run(contest.ours, GuestSpec(contest.images.hypercalls), _measure_guest)
    round_trips = [1e6 / rate for rate in samples]
    yield Figure("hypercall round trip", "us", round_trips, target=Target(Relation.AT_MOST, 5))
