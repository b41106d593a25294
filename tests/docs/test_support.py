"""SUPPORT.md claims nothing without a test that exists, and plans nothing that is there already."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from xenolith.cli import verbs

from .markdown import ROOT, Page

PAGE = Page("SUPPORT.md")
ROWS = [row for row in PAGE.rows if len(row) == 3]
STATUSES = {"Supported", "Preview", "Planned"}

_TEST = re.compile(r"`(\w+/test_\w+\.py)(?:::([\w:]+?)(?:\[([\w-]+)\])?)?`")


@cache
def names(path: Path) -> set[str]:
    """The tests of a module, those of classes as ``Class::test``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{part.name}"
                for part in node.body
                if isinstance(part, ast.FunctionDef)
            }
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if re.match(r"(Test|test_)", name)}


def rows(status: str) -> list[list[str]]:
    return [row for row in ROWS if row[1] == status]


def test_every_row_has_a_status() -> None:
    assert len(ROWS) > 60
    assert {row[1] for row in ROWS} == STATUSES


@pytest.mark.parametrize("row", rows("Supported"), ids=lambda row: row[0])
def test_what_is_supported_has_a_test(row: list[str]) -> None:
    tests = _TEST.findall(row[2])
    assert tests
    # Nothing else stands there between backquotes, such as a test that is misspelt.
    assert row[2].count("`") == 2 * len(tests)
    for module, name, parameter in tests:
        path = ROOT / "tests" / module
        assert path.is_file(), module
        if name:
            assert name in names(path), f"{module} has no {name}"
        if parameter:
            assert f'"{parameter}"' in path.read_text(), f"{module} has no {parameter}"


@pytest.mark.parametrize("row", rows("Planned"), ids=lambda row: row[0])
def test_what_is_planned_is_not_there(row: list[str]) -> None:
    assert not _TEST.search(" ".join(row))
    planned = re.findall(r"`xl ([a-z][\w-]*)`", row[0])
    assert not set(planned) & set(verbs.VERBS)


def test_every_verb_is_accounted_for() -> None:
    claimed = {
        verb for row in ROWS for verb in re.findall(r"`([a-z][\w-]*)`", row[0].replace("xl ", ""))
    }
    assert set(verbs.VERBS) <= claimed
