"""Our hypervisor and the peer, measured by turns so that a noisy machine is unfair to both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench.guest import Guest, GuestSpec, Hypervisor
from bench.images import Images
from bench.toolstack import Toolstack

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: pairs of runs, and seconds for what is watched for a while."""

    pairs: int
    guest_ms: int
    """Milliseconds for each operation of the guest's benchmark program."""
    idle_s: float
    domains: int
    """Domains to run at once; 0 leaves that out."""


FULL = Effort(pairs=5, guest_ms=1000, idle_s=10, domains=32)
QUICK = Effort(pairs=3, guest_ms=300, idle_s=5, domains=0)


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is measured, with what, and how long; without a peer, its samples are empty."""

    ours: Toolstack
    peer: Hypervisor | None
    images: Images
    effort: Effort

    def alternate(self, spec: GuestSpec, measure: Callable[[Guest], T]) -> tuple[list[T], list[T]]:
        """Run a guest under each by turns; return what is measured of it, ours and the peer's."""
        ours: list[T] = []
        peer: list[T] = []
        for _ in range(self.effort.pairs):
            ours.append(run(self.ours, spec, measure))
            if self.peer is not None:
                peer.append(run(self.peer, spec, measure))
        return ours, peer

    def warm_up(self, spec: GuestSpec, measure: Callable[[Guest], T]) -> None:
        """Run it once under each, for the files to be in the caches."""
        run(self.ours, spec, measure)
        if self.peer is not None:
            run(self.peer, spec, measure)


def run(hypervisor: Hypervisor, spec: GuestSpec, measure: Callable[[Guest], T]) -> T:
    """Start a guest, measure something of it, end it."""
    guest = hypervisor.start(spec)
    try:
        return measure(guest)
    finally:
        guest.stop()
