"""Reads xl.cfg(5) text into settings, by the grammar of tools/libs/util/libxlu_cfg_y.y.

After a mistake it goes on at the next assignment, so that one run reports every mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from xenolith.toolstack.config.errors import ConfigError, Position, Problem
from xenolith.toolstack.config.lexer import Kind, Token, tokenize

MAX_NESTING = 32
"""How deep lists may lie in lists; the deepest that xl knows (vnuma) is 2."""


@dataclass(frozen=True, slots=True)
class Atom:
    """A string or a number: which of both it is to be, its key decides."""

    text: str
    position: Position


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list of atoms and lists."""

    items: tuple[Value, ...]
    position: Position


Value = Atom | ListValue


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of one key, at the place of its last assignment."""

    key: str
    value: Value
    position: Position
    appended: bool = False
    """Whether ``+=`` had a part in it."""


class _SyntaxMistakeError(Exception):
    def __init__(self, position: Position, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(position, text)


def parse(text: str, source: str, first_line: int = 1) -> list[Setting]:
    """The assignments of ``text`` in their order; ConfigError names every syntax error."""
    parser = _Parser(list(tokenize(text, source, first_line)))
    settings = parser.file()
    if parser.problems:
        raise ConfigError(parser.problems)
    return settings


def combine(assignments: Iterable[Setting]) -> dict[str, Setting]:
    """The settings that hold in the end: later ones replace, ``+=`` appends; may ConfigError."""
    settings: dict[str, Setting] = {}
    problems: list[Problem] = []
    for new in assignments:
        old = settings.get(new.key)
        if old is None or not new.appended:
            settings[new.key] = new
        elif (value := _concatenate(old.value, new.value)) is not None:
            settings[new.key] = Setting(new.key, value, new.position, appended=True)
        else:
            text = f"key '{new.key}': += cannot join a list and a single value"
            problems.append(Problem(new.position, text))
    if problems:
        raise ConfigError(problems)
    return settings


def _concatenate(first: Value, second: Value) -> Value | None:
    match first, second:
        case Atom(), Atom():
            return Atom(first.text + second.text, second.position)
        case ListValue(), ListValue():
            return ListValue(first.items + second.items, second.position)
    return None


class _Parser:
    """Recursive descent over a list of tokens, the last of which is END."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self.problems: list[Problem] = []

    def file(self) -> list[Setting]:
        settings: list[Setting] = []
        while self._peek().kind is not Kind.END:
            if self._peek().kind in (Kind.NEWLINE, Kind.SEMICOLON):
                self._next += 1
                continue
            try:
                settings.append(self._assignment())
            except _SyntaxMistakeError as mistake:
                self.problems.append(mistake.problem)
                self._skip_to_assignment()
        return settings

    def _assignment(self) -> Setting:
        key = self._peek()
        if key.kind is not Kind.IDENTIFIER:
            self._fail("expected a key")
        self._next += 1
        operator = self._peek()
        if operator.kind not in (Kind.ASSIGN, Kind.ADD):
            self._fail(f"expected '=' after '{key.text}'")
        self._next += 1
        value = self._value(depth=0)
        if self._peek().kind not in (Kind.NEWLINE, Kind.SEMICOLON, Kind.END):
            self._fail(f"expected the end of the line after the value of '{key.text}'")
        return Setting(key.text, value, key.position, appended=operator.kind is Kind.ADD)

    def _value(self, depth: int) -> Value:
        token = self._peek()
        if token.kind is Kind.ATOM:
            self._next += 1
            return Atom(token.text, token.position)
        if token.kind is Kind.OPEN:
            return self._list(depth)
        if token.kind is Kind.IDENTIFIER:
            self._fail(f'expected a value (a string needs quotes: "{token.text}")')
        self._fail("expected a string, a number or a list")

    def _list(self, depth: int) -> ListValue:
        opening = self._peek()
        if depth == MAX_NESTING:
            self._fail(f"lists may not lie more than {MAX_NESTING} deep in each other")
        self._next += 1
        items: list[Value] = []
        self._skip_newlines()
        while self._peek().kind is not Kind.CLOSE:
            if self._at_assignment():
                self._fail(f"expected ']' of the list that {_where(opening)} opens")
            items.append(self._value(depth + 1))
            self._skip_newlines()
            if self._peek().kind is Kind.COMMA:
                self._next += 1
                self._skip_newlines()
            elif self._peek().kind is not Kind.CLOSE:
                self._fail(f"expected ',' or ']' in the list that {_where(opening)} opens")
        self._next += 1
        return ListValue(tuple(items), opening.position)

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _skip_newlines(self) -> None:
        while self._peek().kind is Kind.NEWLINE:
            self._next += 1

    def _fail(self, expectation: str) -> NoReturn:
        token = self._peek()
        if token.kind is Kind.INVALID:
            raise _SyntaxMistakeError(token.position, token.text)
        raise _SyntaxMistakeError(token.position, f"{expectation}, not {_name(token)}")

    def _skip_to_assignment(self) -> None:
        while self._peek().kind is not Kind.END and not self._at_assignment():
            self._next += 1

    def _at_assignment(self) -> bool:
        start = self._next
        return (
            start > 0
            and self._tokens[start - 1].kind is Kind.NEWLINE
            and self._tokens[start].kind is Kind.IDENTIFIER
            and self._tokens[start + 1].kind in (Kind.ASSIGN, Kind.ADD)
        )


def _where(token: Token) -> str:
    line = token.position.line
    return f"line {line}" if line else "'['"


def _name(token: Token) -> str:
    match token.kind:
        case Kind.NEWLINE:
            return "the end of the line"
        case Kind.END:
            return "the end of the configuration"
        case Kind.ATOM:
            return ascii(token.text)
    return f"'{token.text}'"
