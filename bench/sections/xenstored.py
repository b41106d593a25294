"""How many requests xenstored answers: bench/xenstore.py as a section."""

from __future__ import annotations

from collections.abc import Iterator

from bench import xenstore
from bench.contest import Contest
from bench.figure import Figure, Relation, Target


def measure(_contest: Contest) -> Iterator[Figure]:
    """One client over the socket, one request at a time."""
    for operation, rate in xenstore.measure().items():
        target = Target(Relation.AT_LEAST, xenstore.PROMISED[operation])
        yield Figure(f"xenstore {operation}s", "/s", [rate], target=target)
