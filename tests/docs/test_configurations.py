"""The configurations that the documents show are valid, and all that they say takes effect."""

from __future__ import annotations

import re

import pytest

from xenolith.toolstack.config.interpret import interpret
from xenolith.toolstack.config.keys import KEYS, Effect
from xenolith.toolstack.config.parser import combine, parse

from .markdown import PAGES, Page

TUTORIALS = [page for page in PAGES if re.match(r"docs/(how-to/|tutorial)|README", page.name)]
"""The pages whose configurations a reader copies; the reference shows disks and mistakes as well."""


def configurations(page: Page) -> list[str]:
    return [block for block in page.blocks if re.match(r"\w+\s*=", block)]


def test_there_are_some() -> None:
    assert sum(len(configurations(page)) for page in TUTORIALS) > 3


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.name)
def test_configurations(page: Page) -> None:
    for text in configurations(page):
        settings = combine(parse(text, page.name, 1))
        assert {KEYS[key] for key in settings} == {Effect.HONOURED}
        if "name" in settings:
            _, warnings = interpret(settings, page.name)
            assert not warnings
