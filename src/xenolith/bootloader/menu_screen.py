"""The menu on a terminal, over a socket: arrow keys, Enter, submenus, a countdown, an editor."""

from __future__ import annotations

import os
import select
import time

from xenolith.bootloader.boot import load, printable
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.keys import Key, Keyboard
from xenolith.bootloader.menu import Boot, Entry, Menu, choose

_CLEAR = "\x1b[2J\x1b[H"
_REVERSE, _PLAIN = "\x1b[7m", "\x1b[0m"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_MARGIN = 6
"""Lines that are not for entries."""

_HELP = "Arrows choose, Enter boots, e edits the command line, Esc: back, q gives up."
_EDIT_HELP = "Enter boots with this command line, Esc goes back."


class TerminalGone(Exception):  # noqa: N818 - it is no error
    """Nobody looks at the menu any more."""


class _Level:
    """A menu, and the entry that is marked in it."""

    def __init__(self, menu: Menu, title: str) -> None:
        self.menu = menu
        self.title = title
        self.marked = menu.default_number

    @property
    def entry(self) -> Entry:
        return self.menu.entries[self.marked]


class MenuScreen:
    """A terminal at the other end of a descriptor, which is a stream in both directions."""

    def __init__(self, fd: int, columns: int, rows: int) -> None:
        self._fd = fd
        # Terminals over a serial line know no size, and say 0.
        self._columns = max(20, min(columns or 80, 500))
        self._rows = max(_MARGIN + 3, min(rows or 24, 200))
        self._keyboard = Keyboard(fd)
        self._message = ""

    def choose(self, menu: Menu) -> Boot:
        """What the user chooses; the default, when the time is over or nobody looks. BootError."""
        if menu.timeout == 0:
            return load(choose(menu))
        try:
            chosen = self._choose(menu)
            self._write(_CLEAR + _SHOW_CURSOR)
        except TerminalGone:
            return load(choose(menu))
        return chosen

    def _choose(self, menu: Menu) -> Boot:
        levels = [_Level(menu, "pygrub")]
        deadline = None if menu.timeout is None else time.monotonic() + menu.timeout
        while True:
            level = levels[-1]
            left = None if deadline is None else max(0, round(deadline - time.monotonic()))
            self._show(level, left)
            key = self._key(deadline)
            if key is None:
                if deadline is not None and time.monotonic() >= deadline:
                    return load(choose(menu))
                continue
            deadline = None
            self._message = ""
            try:
                boot = self._press(key, levels)
            except BootError as error:
                self._message = str(error)
            else:
                if boot is not None:
                    return boot
            if not levels:
                self._write(_CLEAR + _SHOW_CURSOR)
                raise BootError("the menu was left without a choice")

    def _press(self, key: Key | str, levels: list[_Level]) -> Boot | None:
        """Do what a key means; what is to be booted, if it means that. BootError."""
        level = levels[-1]
        last = len(level.menu.entries) - 1
        match key:
            case Key.UP | "k" | "\x10":
                level.marked = max(0, level.marked - 1)
            case Key.DOWN | "j" | "\x0e":
                level.marked = min(last, level.marked + 1)
            case Key.HOME | Key.PAGE_UP:
                level.marked = 0
            case Key.END | Key.PAGE_DOWN:
                level.marked = last
            case Key.ENTER | Key.RIGHT:
                return self._enter(levels)
            case Key.ESCAPE | Key.LEFT if len(levels) > 1:
                levels.pop()
            case "e" if level.entry.load is not None:
                return self._edit(load(level.entry))
            case "q" | "\x03" | "\x04":
                levels.clear()
        return None

    def _enter(self, levels: list[_Level]) -> Boot | None:
        level = levels[-1]
        if level.entry.submenu is None:
            return load(level.entry)
        inside = level.menu.enter(level.entry)
        if not inside.entries:
            raise BootError("the submenu is empty")
        levels.append(_Level(inside, level.entry.title))
        return None

    def _edit(self, boot: Boot) -> Boot | None:
        """Have the user change a command line; None if he does not want to after all."""
        text, at = boot.arguments, len(boot.arguments)
        while True:
            self._show_editor(boot, text, at)
            match self._key(None):
                case Key.ENTER:
                    return boot._replace(arguments=text)
                case Key.ESCAPE | "\x03":
                    return None
                case Key.LEFT | "\x02":
                    at = max(0, at - 1)
                case Key.RIGHT | "\x06":
                    at = min(len(text), at + 1)
                case Key.HOME | "\x01":
                    at = 0
                case Key.END | "\x05":
                    at = len(text)
                case Key.BACKSPACE if at:
                    text, at = text[: at - 1] + text[at:], at - 1
                case Key.DELETE:
                    text = text[:at] + text[at + 1 :]
                case "\x0b":
                    text = text[:at]
                case "\x15":
                    text, at = text[at:], 0
                case str(character) if character.isprintable():
                    text, at = text[:at] + character + text[at:], at + 1

    def _show(self, level: _Level, left: int | None) -> None:
        rows = self._rows - _MARGIN
        top = max(0, min(level.marked - rows // 2, len(level.menu.entries) - rows))
        lines = [level.title, ""]
        for number, entry in list(enumerate(level.menu.entries))[top : top + rows]:
            default = "*" if number == level.menu.default_number else " "
            arrow = " >" if entry.submenu is not None else ""
            line = self._cut(f" {default} {entry.title}{arrow}").ljust(self._columns - 1)
            lines.append(f"{_REVERSE}{line}{_PLAIN}" if number == level.marked else line)
        countdown = f"The entry marked * boots in {left} s." if left is not None else ""
        self._put([*lines, "", _HELP, self._message or countdown], _HIDE_CURSOR)

    def _show_editor(self, boot: Boot, text: str, at: int) -> None:
        width = self._columns - 3
        start = max(0, at - width + 1)
        lines = [f"Kernel: {boot.kernel}", "", f"> {text[start : start + width]}", "", _EDIT_HELP]
        self._put(lines, f"{_SHOW_CURSOR}\x1b[3;{at - start + 3}H")

    def _put(self, lines: list[str], ending: str) -> None:
        shown = "\r\n".join(
            line if line.startswith(_REVERSE) else self._cut(line).rstrip() for line in lines
        )
        self._write(f"{_CLEAR}{shown}{ending}")

    def _cut(self, line: str) -> str:
        return printable(line)[: self._columns - 1]

    def _key(self, deadline: float | None) -> Key | str | None:
        """The next key; None when the countdown is to be shown anew."""
        wait = None if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
        try:
            return self._keyboard.read(wait)
        except (OSError, EOFError):
            raise TerminalGone from None

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode(errors="replace"))
        try:
            while rest:
                select.select([], [self._fd], [])
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            raise TerminalGone from None
