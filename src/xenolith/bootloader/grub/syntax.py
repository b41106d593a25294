"""The parts of a script of GRUB 2 (GRUB manual, "Writing full configuration files directly")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from xenolith.bootloader.errors import BootError


class ScriptError(BootError):
    """A script makes no sense, or does not end; the message says where."""


class Form(Enum):
    """How a piece of a word is to be taken."""

    LITERAL = auto()
    """As it is."""
    VARIABLE = auto()
    """The value of that variable, cut into words at blanks."""
    QUOTED_VARIABLE = auto()
    """The value of that variable."""


class Piece(NamedTuple):
    """A part of a word."""

    form: Form
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """What blanks or operators part from other words."""

    pieces: tuple[Piece, ...]
    line: int
    bare: str | None
    """Its text if nothing of it is quoted or a variable: only then it may be a reserved word."""


class Operator(NamedTuple):
    """What ends a command: a newline counts as ``;``, the end of the text is ``""``."""

    text: str
    line: int


Token = Word | Operator


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its arguments, and perhaps a block in braces."""

    words: tuple[Word, ...]
    block: Script | None
    line: int


@dataclass(frozen=True, slots=True)
class Not:
    """``! command``."""

    command: Statement


@dataclass(frozen=True, slots=True)
class Chain:
    """Commands that are run as long as those before succeed (``&&``) or fail (``||``)."""

    first: Statement
    rest: tuple[tuple[str, Statement], ...]


@dataclass(frozen=True, slots=True)
class If:
    """``if``, ``elif``, ``else``; the last has no condition."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script


@dataclass(frozen=True, slots=True)
class For:
    """``for NAME in WORDS; do ... done``."""

    name: str
    words: tuple[Word, ...]
    body: Script


@dataclass(frozen=True, slots=True)
class Loop:
    """``while`` or ``until``."""

    condition: Script
    wanted: bool
    """What the condition is while it goes on."""
    body: Script


@dataclass(frozen=True, slots=True)
class Function:
    """``function NAME { ... }``."""

    name: str
    body: Script


Statement = Command | Not | Chain | If | For | Loop | Function
Script = tuple[Statement, ...]
