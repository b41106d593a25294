"""Takes the project's Markdown pages apart, as far as the tests of this directory need it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCED = re.compile(r"^```.*?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", flags=re.MULTILINE)
_PROMPT = "$ "


@dataclass(frozen=True)
class Page:
    """One page; ``name`` is its path below the root of the project."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        return _FENCED.sub("", self.text)

    @property
    def blocks(self) -> list[str]:
        """The contents of the fenced blocks."""
        return _FENCED.findall(self.text)

    @property
    def links(self) -> list[str]:
        """The targets of the links."""
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What can follow a ``#`` in a link to the page, as GitHub derives it from the headings."""
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in _HEADING.findall(self.prose)
        }

    @property
    def commands(self) -> list[str]:
        """What the page has its reader type at a shell's prompt."""
        lines = "\n".join(self.blocks).splitlines()
        return [line.removeprefix(_PROMPT) for line in lines if line.startswith(_PROMPT)]

    @property
    def code(self) -> list[str]:
        """What stands between backquotes in the prose."""
        return re.findall(r"`([^`]+)`", self.prose)

    @property
    def rows(self) -> list[list[str]]:
        """The cells of its tables' rows, heads and rules left out."""
        tables = re.findall(r"(?:^\|.*\|\n)+", self.prose, flags=re.MULTILINE)
        rows = [line for table in tables for line in table.splitlines()[2:]]
        return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


PAGES = [
    Page(path.relative_to(ROOT).as_posix())
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
]
"""All pages of the project."""
