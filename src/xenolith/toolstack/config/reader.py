"""Reads settings as the types that their keys want, and collects what is wrong with them.

Numbers are those of strtol(3) with base 0, as in libxlu; a flag is a number, true unless 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from xenolith.toolstack.config.errors import Position, Problem
from xenolith.toolstack.config.parser import Atom, ListValue, Setting

E = TypeVar("E", bound=StrEnum)

_NUMBER = re.compile(r"\s*([-+]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_MAX_DIGITS = 22
"""No 64-bit number has more, in any base; int() refuses thousands of them."""


class Reader:
    """Typed access to the settings of one configuration."""

    def __init__(self, settings: Mapping[str, Setting], source: str) -> None:
        self._settings = settings
        self._whole = Position(source, 0, 0)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def given(self, key: str) -> bool:
        """Whether the configuration has this key."""
        return key in self._settings

    def is_list(self, key: str) -> bool:
        """Whether the value of a key is a list."""
        return key in self._settings and isinstance(self._settings[key].value, ListValue)

    def error(self, key: str, text: str, position: Position | None = None) -> None:
        """Note that something is wrong with a key, given or missing."""
        self.problems.append(Problem(position or self._position(key), f"key '{key}': {text}"))

    def warn(self, key: str, text: str) -> None:
        """Note something that the user should know and that does no harm."""
        self.warnings.append(Problem(self._position(key), f"warning: key '{key}' {text}"))

    def string(self, key: str) -> str | None:
        """The value as a string; None where it is not given, empty, or wrong."""
        setting = self._settings.get(key)
        if setting is None:
            return None
        if isinstance(setting.value, ListValue):
            self.error(key, "expected a single value, not a list")
            return None
        return setting.value.text or None

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """The value as a number from ``low`` to ``high``."""
        text = self.string(key)
        if text is None:
            if key in self._settings and isinstance(self._settings[key].value, Atom):
                self.error(key, "expected a number, not an empty string")
            return default
        if self._settings[key].appended:
            self.error(key, "+= does not work with numbers")
            return default
        value = parse_number(text)
        if value is None:
            self.error(key, f"expected a number, not {text!a}")
        elif not low <= value <= high:
            self.error(key, f"{text} is out of range ({low} to {high})")
        else:
            return value
        return default

    def flag(self, key: str, default: bool) -> bool:
        """The value as a flag: a number, true unless 0."""
        return bool(self.number(key, int(default), -(1 << 63), (1 << 63) - 1))

    def choice(self, key: str, default: E) -> E:
        """The value as a member of the enum that ``default`` belongs to."""
        text = self.string(key)
        if text is None:
            return default
        options = list(type(default))
        if text not in options:
            self.error(key, f"expected one of {', '.join(options)}, not {text!a}")
            return default
        return type(default)(text)

    def strings(self, key: str) -> list[Atom]:
        """The value as a list of strings."""
        setting = self._settings.get(key)
        if setting is None:
            return []
        if isinstance(setting.value, Atom):
            self.error(key, "expected a list, not a single value")
            return []
        atoms = [item for item in setting.value.items if isinstance(item, Atom)]
        if len(atoms) != len(setting.value.items):
            self.error(key, "expected a list of strings, not of lists")
        return atoms

    def strings_or_one(self, key: str) -> list[Atom]:
        """The value as a list of strings, where a single string is a list of one."""
        setting = self._settings.get(key)
        if setting is not None and isinstance(setting.value, Atom):
            return [setting.value]
        return self.strings(key)

    def _position(self, key: str) -> Position:
        setting = self._settings.get(key)
        return setting.position if setting else self._whole


def parse_number(text: str) -> int | None:
    """The number that strtol(3) with base 0 reads from the whole of ``text``, if it is one."""
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    value = int(digits, base)
    return -value if sign == "-" else value
