"""Reads what the guests of guests/bench print: "GBENCH name count seconds" for each measurement."""

from __future__ import annotations

import re

from bench.errors import BenchError

END = b"GBENCH end"
"""The last line, behind which nothing is missing."""

_LINE = re.compile(r"^GBENCH (\w+) (\d+) (\d+\.\d+)\s*$", re.MULTILINE)


def rates(console: str) -> dict[str, list[float]]:
    """Operations per second by name, each measurement in its turn; BenchError if there is none."""
    found: dict[str, list[float]] = {}
    for name, count, seconds in _LINE.findall(console):
        found.setdefault(name, []).append(int(count) / float(seconds))
    if not found:
        raise BenchError("the guest has measured nothing")
    return found
