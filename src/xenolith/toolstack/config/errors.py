"""Where in a configuration something is, what is wrong there, and the error that reports it all.

The form ``FILE:LINE: what`` is that of libxlu (tools/libs/util/libxlu_cfg.c); editors jump to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a configuration: lines and columns count from 1."""

    source: str
    line: int
    """0 for what stands in no file: an override on the command line."""
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Problem(NamedTuple):
    """One sentence about one place."""

    position: Position
    text: str

    def __str__(self) -> str:
        return f"{self.position}: {self.text}"


class ConfigError(Exception):
    """A configuration that describes no domain; ``str()`` gives one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
