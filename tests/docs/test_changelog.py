"""CHANGELOG.md keeps its format, and its newest release is the one that the code says it is."""

from __future__ import annotations

import re

import xenolith

from .markdown import Page

PAGE = Page("CHANGELOG.md")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Of https://keepachangelog.com."""


def test_the_newest_release_is_the_version_of_the_code() -> None:
    newest = re.findall(r"^## (.*)$", PAGE.text, flags=re.MULTILINE)[0]
    assert re.fullmatch(
        rf"{re.escape(xenolith.__version__)} \((unreleased|\d{{4}}-\d\d-\d\d)\)", newest
    )


def test_changes_are_of_the_usual_kinds() -> None:
    kinds = set(re.findall(r"^### (.*)$", PAGE.text, flags=re.MULTILINE))
    assert kinds
    assert kinds <= KINDS
