"""The table of the figures: text of less than 100 columns, row by row as they are measured."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figure import Figure, Judged, Target

_WIDTHS = (30, 12, 12, 6, 14, 12, 6)
_NAMES = ("figure", "ours", "peer", "ratio", "range", "target", "")
_NONE = "-"


def header() -> str:
    """The line above the figures."""
    return _row(_NAMES)


def row(figure: Figure) -> str:
    """The line of one figure.

    The range is that of the samples which the target judges: ratios, or our own.
    """
    peer, ratio = figure.peer_median, figure.ratio
    return _row(
        (
            figure.name,
            _amount(figure.median, figure.unit),
            _NONE if peer is None else _amount(peer, figure.unit),
            _NONE if ratio is None else number(ratio),
            _range(figure.judged_samples),
            _NONE if figure.target is None else _target(figure.target, figure.unit),
            {True: "met", False: "MISSED", None: ""}[figure.met],
        )
    )


def failure(section: str, reason: str) -> str:
    """The line of a section that could not be measured."""
    return f"{section}: {reason}"


def number(value: float) -> str:
    """A number with three significant digits, or all digits before the point if these are more."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def _amount(value: float, unit: str) -> str:
    """A value in its unit; without one it is a count."""
    return f"{number(value)} {unit}" if unit else f"{value:,.0f}"


def _target(target: Target, unit: str) -> str:
    if target.judged is Judged.RATIO:
        unit = "x"
    return f"{target.relation.value} {target.bound:,g} {unit}".rstrip()


def _range(samples: Sequence[float]) -> str:
    if len(samples) < 2:
        return _NONE
    return f"{number(min(samples))}-{number(max(samples))}"


def _row(cells: Sequence[str]) -> str:
    first, *others = (
        f"{cell:<{width}}" if index == 0 else f"{cell:>{width}}"
        for index, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    return " ".join([first, *others]).rstrip()
