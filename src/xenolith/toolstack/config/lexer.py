r"""Splits the text of an xl.cfg(5) file into tokens, as tools/libs/util/libxlu_cfg_l.l does.

Beyond libxlu it accepts a carriage return before a newline, a backslash that joins two lines, and
a comment on a last line without newline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from xenolith.toolstack.config.errors import Position


class Kind(Enum):
    """What a token is; INVALID carries a message in place of a text."""

    IDENTIFIER = auto()
    ATOM = auto()
    NEWLINE = auto()
    SEMICOLON = auto()
    COMMA = auto()
    OPEN = auto()
    CLOSE = auto()
    ASSIGN = auto()
    ADD = auto()
    END = auto()
    INVALID = auto()


class Token(NamedTuple):
    """A token: ``text`` is an atom's value without quotes and escapes, else what was written."""

    kind: Kind
    text: str
    position: Position


_TOKEN = re.compile(
    r"""
      (?P<BLANK>      [ \t\r]+ | \\\r?\n )
    | (?P<COMMENT>    \#[^\n]* )
    | (?P<NEWLINE>    \n )
    | (?P<IDENTIFIER> [A-Za-z_][.\w]* )
    | (?P<NUMBER>     [-+]?[0-9]\w* )
    | (?P<STRING>     '(?:[^'\\\n]|\\[^\n])*' | "(?:[^"\\\n]|\\[^\n])*" )
    | (?P<UNCLOSED>   ['"][^\n]* )
    | (?P<ADD>        \+= )
    | (?P<ASSIGN>     = )
    | (?P<SEMICOLON>  ; )
    | (?P<COMMA>      , )
    | (?P<OPEN>       \[ )
    | (?P<CLOSE>      \] )
    | (?P<OTHER>      . )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)

_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_PYTHON = re.compile(r"[-+.():*/%{}]")


def tokenize(text: str, source: str, first_line: int = 1) -> Iterator[Token]:
    """Yield the tokens of ``text``, the last one END; it never raises."""
    line, line_start = first_line, 0
    for match in _TOKEN.finditer(text):
        kind, written = match.lastgroup, match.group()
        position = Position(source, line, match.start() - line_start + 1)
        if kind == "STRING":
            yield _string_token(written, position)
        elif kind == "NUMBER":
            yield Token(Kind.ATOM, written, position)
        elif kind == "UNCLOSED":
            yield Token(Kind.INVALID, "the string is not closed on its line", position)
        elif kind == "OTHER":
            yield Token(Kind.INVALID, _why_invalid(written), position)
        elif kind is not None and kind not in ("BLANK", "COMMENT"):
            yield Token(Kind[kind], written, position)
        if written.endswith("\n"):
            line, line_start = line + 1, match.end()
    yield Token(Kind.END, "", Position(source, line, len(text) - line_start + 1))


def _string_token(quoted: str, position: Position) -> Token:
    try:
        return Token(Kind.ATOM, unquote(quoted), position)
    except ValueError as error:
        return Token(Kind.INVALID, str(error), position)


def _why_invalid(character: str) -> str:
    if _PYTHON.match(character):
        return f"unexpected {character!r}: a configuration is not Python, values are not computed"
    return f"unexpected {character!a}"


def unquote(quoted: str) -> str:
    """The value of a string in its quotes; ValueError names an escape that does not exist.

    Escapes of bytes above 0x7f combine to UTF-8; bytes that do not are kept as surrogates, as in
    :func:`os.fsdecode`.
    """
    value = _ESCAPE.sub(_unescape, quoted[1:-1])
    if "\0" in value:
        raise ValueError("a string cannot have a zero byte")
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code in _CONTROL:
        return _CONTROL[code]
    if code in ("\\", "'", '"'):
        return code
    if code[0] == "x" and len(code) > 1:
        return _byte(int(code[1:], 16))
    if code[0] in "01234567":
        return _byte(int(code, 8))
    raise ValueError(f"a string cannot have the escape \\{ascii(code)[1:-1]}")


def _byte(value: int) -> str:
    if value > 0xFF:
        raise ValueError(f"the escape \\{value:o} is more than a byte")
    return bytes([value]).decode("utf-8", "surrogateescape")
