"""How figures are compared and judged."""

from __future__ import annotations

import pytest
from bench.figure import Figure, Judged, Relation, Target


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    # The medians alone, 20 and 10, would say 2.
    figure = Figure("f", "s", [10.0, 20.0, 90.0], [10.0, 40.0, 9.0])
    assert figure.ratios == [1.0, 0.5, 10.0]
    assert figure.ratio == 1.0
    assert (figure.median, figure.peer_median) == (20.0, 10.0)


@pytest.mark.parametrize(
    ("relation", "bound", "met"),
    [
        (Relation.AT_MOST, 2.0, True),
        (Relation.AT_MOST, 1.9, False),
        (Relation.AT_LEAST, 2.0, True),
        (Relation.AT_LEAST, 2.1, False),
    ],
)
def test_the_median_is_held_to_the_bound(relation: Relation, bound: float, met: bool) -> None:
    assert Figure("f", "s", [1.0, 2.0, 9.0], target=Target(relation, bound)).met is met


def test_a_ratio_is_judged_by_pairs_and_not_without_a_peer() -> None:
    target = Target(Relation.AT_LEAST, 0.8, Judged.RATIO)
    assert Figure("f", "/s", [10.0], [10.0], target).met is True
    assert Figure("f", "/s", [10.0], [20.0], target).met is False
    assert Figure("f", "/s", [10.0], target=target).met is None


def test_without_a_target_nothing_is_judged() -> None:
    assert Figure("f", "s", [1.0]).met is None
