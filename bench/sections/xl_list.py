"""How long `xl list` takes, from the start of the program to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.contest import Contest, run
from bench.figure import Figure, Relation, Target
from bench.guest import Guest, GuestSpec

_SAMPLES = 15


def measure(contest: Contest) -> Iterator[Figure]:
    """With one domain, whose guest sleeps."""

    def listings(guest: Guest) -> list[float]:
        guest.wait_for(b"!")
        return [_listing() for _ in range(_SAMPLES)]

    def _listing() -> float:
        began = time.perf_counter()
        contest.ours.xl("list")
        return (time.perf_counter() - began) * 1e3

    samples = run(contest.ours, GuestSpec(contest.images.first_instruction), listings)
    yield Figure("xl list", "ms", samples, target=Target(Relation.AT_MOST, 80))
