"""GRUB's `test`, also called `[`: files, strings, numbers, and what joins them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Protocol

_NUMBER = re.compile(r"\s*(-?\d{1,18})")

_STRINGS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq, "-ne": operator.ne, "-lt": operator.lt,
    "-le": operator.le, "-gt": operator.gt, "-ge": operator.ge,
}  # fmt: skip
_FILES = ("-d", "-e", "-f", "-s")
_DEEPEST = 20


class Files(Protocol):
    """What conditions ask about files."""

    def test(self, condition: str, path: str) -> bool:
        """Whether a path is a directory (-d), exists (-e), is a file (-f) or one with bytes (-s)."""


def holds(words: list[str], files: Files) -> bool:
    """Whether a condition holds; one that makes no sense does not."""
    return _Condition(words, files).alternatives()


class _Condition:
    def __init__(self, words: list[str], files: Files) -> None:
        self._words = words
        self._files = files
        self._at = 0
        self._depth = 0

    def alternatives(self) -> bool:
        """Terms joined by -o, each of which is joined by -a, up to a closing parenthesis."""
        self._depth += 1
        result, term = False, True
        while self._depth <= _DEEPEST and self._at < len(self._words):
            word = self._words[self._at]
            if word == ")":
                break
            if word == "-o":
                self._at += 1
                result, term = result or term, True
            elif word == "-a":
                self._at += 1
            else:
                term = self._primary() and term
        self._depth -= 1
        return result or (term and bool(self._words))

    def _primary(self) -> bool:
        inverted = False
        while self._left() > 1 and self._words[self._at] == "!":
            self._at += 1
            inverted = not inverted
        return self._positive() is not inverted

    def _positive(self) -> bool:
        words = self._words[self._at : self._at + 3]
        if len(words) == 3 and words[1] in _STRINGS:
            self._at += 3
            return _STRINGS[words[1]](words[0], words[2])
        if len(words) == 3 and words[1] in _NUMBERS:
            self._at += 3
            return _NUMBERS[words[1]](_number(words[0]), _number(words[2]))
        if words[0] == "(":
            self._at += 1
            result = self.alternatives()
            self._at += 1
            return result
        if len(words) > 1 and words[0] in ("-n", "-z"):
            self._at += 2
            return bool(words[1]) is (words[0] == "-n")
        if len(words) > 1 and words[0] in _FILES:
            self._at += 2
            return self._files.test(words[0], words[1])
        self._at += 1
        return bool(words[0])

    def _left(self) -> int:
        return len(self._words) - self._at


def _number(text: str) -> int:
    match = _NUMBER.match(text)
    return int(match[1]) if match else 0
