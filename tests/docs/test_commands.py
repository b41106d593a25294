"""The commands that the documents show exist, and take the options that they are given."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib

import pytest

from xenolith.cli import verbs
from xenolith.cli.command import ANY_NUMBER, parse_options

from .markdown import PAGES, ROOT, Page

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

_END_OF_COMMAND = set("|&;<>()")


def shown(page: Page, program: str) -> list[list[str]]:
    """The arguments of each use of a program at a shell's prompt."""
    uses = []
    for command in page.commands:
        words = shlex.shlex(command, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        # The prompt's own substitutions only matter for what is in them.
        tokens = [token.lstrip("$") or token for token in words]
        for at, token in enumerate(tokens):
            if token == program and (at == 0 or tokens[at - 1] != "cat"):
                uses.append(_until_the_end(tokens[at + 1 :]))
    return uses


def _until_the_end(tokens: list[str]) -> list[str]:
    taken = []
    for token in tokens:
        if set(token) <= _END_OF_COMMAND:
            break
        taken.append(token)
    return taken


def mentioned(page: Page, program: str) -> set[str]:
    """The first argument of a program wherever the prose or a table has it between backquotes."""
    return {
        match[1] for text in page.code if (match := re.match(rf"{program} ([a-z][\w-]*)", text))
    }


def test_the_parts_of_a_command_line_are_told_apart() -> None:
    page = Page("docs/how-to/ci.md")
    assert shown(page, "xl")[0] == ["create", "-q", "-F", "-c", "ci.cfg"]


@EVERY_PAGE
def test_xl(page: Page) -> None:
    for arguments in shown(page, "xl"):
        name, *rest = arguments
        assert name in verbs.VERBS
        verb = verbs.load(name)
        parse_options(rest, verb.SHORT, verb.LONG, ANY_NUMBER)


@EVERY_PAGE
def test_targets_of_make(page: Page) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"run", "test"} <= targets
    assert mentioned(page, "make") | {use[0] for use in shown(page, "make")} <= targets


@EVERY_PAGE
def test_modules_and_programs(page: Page) -> None:
    for arguments in shown(page, "python"):
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for word in re.findall(r"(?<![/\w.])xenstore-[a-z]+\b", "\n".join(page.commands)):
        assert word in scripts or word == "xenstore-utils"


def test_the_first_page_shows_the_two_commands() -> None:
    assert {"run", "test"} <= mentioned(Page("README.md"), "make")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "SUPPORT.md"], ids=lambda page: page.name
)
def test_verbs_that_the_text_names(page: Page) -> None:
    assert mentioned(page, "xl") <= set(verbs.VERBS)
