"""Keys of a terminal out of the bytes that it sends (ECMA-48, as xterm and its like do)."""

from __future__ import annotations

import os
import re
import select
from enum import Enum, auto

_ESCAPE_WAIT_S = 0.05
"""How long after ESC the rest of a key's sequence may come."""
_LONGEST_SEQUENCE = 16


class Key(Enum):
    """The keys that are no characters."""

    UP = auto()
    DOWN = auto()
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    DELETE = auto()
    BACKSPACE = auto()
    ENTER = auto()
    ESCAPE = auto()
    OTHER = auto()


_FINAL = {
    "A": Key.UP, "B": Key.DOWN, "C": Key.RIGHT, "D": Key.LEFT, "H": Key.HOME, "F": Key.END,
    "1~": Key.HOME, "7~": Key.HOME, "4~": Key.END, "8~": Key.END, "3~": Key.DELETE,
    "5~": Key.PAGE_UP, "6~": Key.PAGE_DOWN,
}  # fmt: skip
_CONTROL = {
    "\r": Key.ENTER, "\n": Key.ENTER, "\x7f": Key.BACKSPACE, "\x08": Key.BACKSPACE,
}  # fmt: skip
_SEQUENCE = re.compile(r"\x1b[\[O]([0-9;]*[A-Za-z~])")


class Keyboard:
    """The keys that come from a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._typed = ""

    def read(self, timeout: float | None) -> Key | str | None:
        """The next key, a character or a Key; None if none comes in time. EOFError, OSError."""
        if not self._typed and not self._receive(timeout):
            return None
        while self._typed.startswith("\x1b") and not _SEQUENCE.match(self._typed):
            if len(self._typed) > _LONGEST_SEQUENCE or not self._receive(_ESCAPE_WAIT_S):
                break
        if match := _SEQUENCE.match(self._typed):
            self._typed = self._typed[match.end() :]
            return _FINAL.get(match[1], Key.OTHER)
        character, self._typed = self._typed[0], self._typed[1:]
        if character == "\x1b":
            return Key.ESCAPE
        return _CONTROL.get(character, character)

    def _receive(self, timeout: float | None) -> bool:
        """Take in what is typed within a time; EOFError at the end."""
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return False
        data = os.read(self._fd, 1024)
        if not data:
            raise EOFError
        self._typed += data.decode(errors="ignore")
        return bool(self._typed)
