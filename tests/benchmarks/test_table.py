"""The table: what stands in its rows, and that it fits."""

from __future__ import annotations

import json

from bench import table
from bench.figure import Figure, Judged, Relation, Target
from bench.report import to_json

RATIO = Target(Relation.AT_LEAST, 1.2, Judged.RATIO)


def test_a_row_shows_both_their_ratio_and_the_verdict() -> None:
    figure = Figure("page faults", "k/s", [80.0, 90.0, 70.0], [40.0, 50.0, 50.0], RATIO)
    shown = table.row(figure).split()
    assert shown == [
        *("page", "faults", "80.0", "k/s", "50.0", "k/s", "1.80", "1.40-2.00"),
        *(">=", "1.2", "x", "met"),
    ]


def test_a_missed_target_stands_out() -> None:
    figure = Figure("xl list", "ms", [81.0, 95.5], target=Target(Relation.AT_MOST, 80))
    assert table.row(figure).split() == [
        *("xl", "list", "88.2", "ms", "-", "-", "81.0-95.5", "<=", "80", "ms", "MISSED")
    ]


def test_without_the_peer_a_ratio_is_left_open() -> None:
    shown = table.row(Figure("page faults", "k/s", [80.0], target=RATIO)).split()
    assert shown == ["page", "faults", "80.0", "k/s", "-", "-", "-", ">=", "1.2", "x"]


def test_a_figure_without_a_unit_is_a_count() -> None:
    shown = table.row(Figure("up", "", [31.0], target=Target(Relation.AT_LEAST, 32))).split()
    assert shown == ["up", "31", "-", "-", "-", ">=", "32", "MISSED"]


def test_rows_line_up_with_the_header_within_100_columns() -> None:
    long = Figure(
        *("first instruction, tiny guests", "/s", [123456.0, 99999.0], [123456.0, 99999.0]),
        Target(Relation.AT_LEAST, 10_000),
    )
    rows = [table.header(), table.row(long), table.row(Figure("f", "s", [1.0], [1.0], RATIO))]
    assert all(len(row) <= 100 for row in rows)
    column = table.header().index("target") + len("target")
    assert all(row[column - 1] != " " and row[column : column + 1] in ("", " ") for row in rows)


def test_numbers_keep_three_digits_or_all_before_the_point() -> None:
    assert [table.number(value) for value in (0.4567, 4.567, 45.67, 456.7, 45678.9)] == [
        *("0.46", "4.57", "45.7", "457", "45,679")
    ]


def test_json_holds_every_sample() -> None:
    figure = Figure("page faults", "k/s", [80.0, 90.0], [40.0, 30.0], RATIO)
    report = json.loads(to_json({"date": "2030-01-01"}, [figure, Figure("f", "s", [1.0])]))
    assert report["host"] == {"date": "2030-01-01"}
    judged, plain = report["figures"]
    assert (judged["ours"], judged["peer"], judged["ratio"]) == ([80.0, 90.0], [40.0, 30.0], 2.5)
    assert judged["target"] == {"judged": "ratio", "relation": ">=", "bound": 1.2}
    assert judged["met"] is True
    assert (plain["target"], plain["met"], plain["ratio"]) == (None, None, None)
