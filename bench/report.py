"""The figures for programs: JSON with every sample."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.figure import Figure


def to_json(facts: Mapping[str, str], figures: Iterable[Figure]) -> str:
    """An object with the facts about the host and the list of figures."""
    report = {"host": dict(facts), "figures": [_figure(figure) for figure in figures]}
    return json.dumps(report, indent=2) + "\n"


def _figure(figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "name": figure.name,
        "unit": figure.unit,
        "ours": list(figure.ours),
        "peer": list(figure.peer),
        "median": figure.median,
        "peer_median": figure.peer_median,
        "ratio": figure.ratio,
        "target": None
        if target is None
        else {
            "judged": target.judged.value,
            "relation": target.relation.value,
            "bound": target.bound,
        },
        "met": figure.met,
    }
