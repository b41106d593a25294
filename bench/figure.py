"""What is measured: figures in their units, ours and the peer's, and the targets they are held to.

Machines are noisy, so a figure has several samples. Ours and the peer's are taken by turns, and
each pair of neighbours has a ratio of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Relation(Enum):
    """On which side of its bound a figure is to be."""

    AT_MOST = "<="
    AT_LEAST = ">="


class Judged(Enum):
    """What a target speaks of: our figure itself, or its ratio to the peer's."""

    OURS = "ours"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound, in the figure's unit or as a ratio."""

    relation: Relation
    bound: float
    judged: Judged = Judged.OURS

    def met_by(self, value: float) -> bool:
        """Whether a value is good enough."""
        if self.relation is Relation.AT_MOST:
            return value <= self.bound
        return value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its samples, the peer's in the same order; the peer may have none."""

    name: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    target: Target | None = None

    @property
    def median(self) -> float:
        """Our figure."""
        return statistics.median(self.ours)

    @property
    def peer_median(self) -> float | None:
        """The peer's figure, None if it has none."""
        return statistics.median(self.peer) if self.peer else None

    @property
    def ratios(self) -> list[float]:
        """Ours to the peer's, pair by pair."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=False)]

    @property
    def ratio(self) -> float | None:
        """The median of the pairs' ratios, None without a peer."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def judged_samples(self) -> Sequence[float]:
        """The samples of what the target speaks of; empty if that is a ratio and there is none."""
        if self.target is not None and self.target.judged is Judged.RATIO:
            return self.ratios
        return self.ours

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none, or nothing to judge."""
        if self.target is None or not self.judged_samples:
            return None
        return self.target.met_by(statistics.median(self.judged_samples))
