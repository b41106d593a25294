"""Cuts a script of GRUB 2 into words and operators."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xenolith.bootloader.grub.syntax import Form, Operator, Piece, ScriptError, Token, Word

_BLANKS = re.compile(r"(?:[ \t\r\f\v]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_OPERATOR = re.compile(r"\n|;|&&|\|\||[|&<>]")
_PLAIN = re.compile(r"[^ \t\r\f\v\n;&|<>\\'\"$]+")
_ESCAPED = re.compile(r"\\(.|\n|$)", re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'")
_VARIABLE = re.compile(r"\$(?:\{([^}\n]*)\}|([A-Za-z_]\w*|\d+|[@#*?]))")
_IN_DOUBLE = re.compile(r'[^"\\$]+')
_ESCAPED_IN_DOUBLE = re.compile(r'\\([\\"$\n])')


def tokens(text: str, name: str) -> Iterator[Token]:
    """The tokens of a script, with an empty operator at its end; ScriptError names it ``name``."""
    return _Lexer(text, name).run()


class _Lexer:
    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._at = 0
        self._line = 1

    def run(self) -> Iterator[Token]:
        while True:
            self._take(_BLANKS)
            self._take(_COMMENT)
            line = self._line
            if self._at == len(self._text):
                yield Operator("", line)
                return
            operator = self._take(_OPERATOR)
            if operator:
                yield Operator(";" if operator[0] == "\n" else operator[0], line)
            elif not self._text.startswith("\\\n", self._at):
                yield self._word(line)

    def _word(self, line: int) -> Word:
        pieces: list[Piece] = []
        bare = True
        while self._at < len(self._text):
            if match := self._take(_PLAIN):
                pieces.append(Piece(Form.LITERAL, match[0]))
            elif match := self._take(_ESCAPED):
                pieces.append(Piece(Form.LITERAL, "" if match[1] == "\n" else match[1]))
                bare = False
            elif match := self._take(_SINGLE):
                pieces.append(Piece(Form.LITERAL, match[1]))
                bare = False
            elif match := self._take(_VARIABLE):
                pieces.append(Piece(Form.VARIABLE, match[1] or match[2] or ""))
                bare = False
            elif self._text[self._at] == '"' or self._text.startswith('$"', self._at):
                pieces += self._double(line)
                bare = False
            elif self._text[self._at] == "$":
                self._at += 1
                pieces.append(Piece(Form.LITERAL, "$"))
            elif self._text[self._at] == "'":
                raise ScriptError(f"{self._name}:{line}: a quotation has no end")
            else:
                break
        text = "".join(piece.text for piece in pieces) if bare else None
        return Word(tuple(pieces), line, text)

    def _double(self, line: int) -> Iterator[Piece]:
        self._at = self._text.index('"', self._at) + 1
        # An empty string is a word, too.
        yield Piece(Form.LITERAL, "")
        while self._at < len(self._text):
            if match := self._take(_IN_DOUBLE):
                yield Piece(Form.LITERAL, match[0])
            elif match := self._take(_ESCAPED_IN_DOUBLE):
                yield Piece(Form.LITERAL, "" if match[1] == "\n" else match[1])
            elif match := self._take(_VARIABLE):
                yield Piece(Form.QUOTED_VARIABLE, match[1] or match[2] or "")
            elif self._text[self._at] == '"':
                self._at += 1
                return
            else:
                yield Piece(Form.LITERAL, self._text[self._at])
                self._at += 1
        raise ScriptError(f"{self._name}:{line}: a quotation has no end")

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._line += match[0].count("\n")
            self._at = match.end()
        return match
