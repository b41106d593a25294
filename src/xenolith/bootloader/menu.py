"""What boot loaders have in common: a menu of entries, one of which leads to a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.volumes import FileRef

_DEEPEST = 16
"""Submenus within submenus."""


class Boot(NamedTuple):
    """What an entry boots."""

    kernel: FileRef
    ramdisks: tuple[FileRef, ...]
    """Their contents follow each other in memory."""
    arguments: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a menu."""

    title: str
    ids: tuple[str, ...]
    """What the default may call it, besides its title and its number."""
    load: Callable[[], Boot] | None = None
    """Finds out what it boots; BootError if that is nothing. None for a submenu."""
    submenu: Callable[[], Menu] | None = None
    """Opens the submenu; BootError. None for what boots."""


@dataclass(frozen=True, slots=True)
class Menu:
    """The entries to choose from."""

    entries: Sequence[Entry]
    default: str = ""
    """A number from 0, a title or an id; behind ``>`` follows that in the submenu."""
    timeout: float | None = None
    """Seconds until the default is booted; None: never."""

    def find(self, wanted: str) -> int | None:
        """The number of the entry that a part of a default means."""
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 9:
            number = int(wanted)
            if number < len(self.entries):
                return number
        for number, entry in enumerate(self.entries):
            if wanted == entry.title or wanted in entry.ids:
                return number
        return None

    @property
    def default_number(self) -> int:
        """The number of the default entry, the first where the default is none of them."""
        # A title may hold the character that parts those of submenus from each other.
        found = self.find(self.default)
        if found is None:
            found = self.find(self.default.partition(">")[0])
        return found or 0

    def enter(self, entry: Entry) -> Menu:
        """The submenu of an entry, with what the default says about it."""
        assert entry.submenu is not None
        menu = entry.submenu()
        first, _, rest = self.default.partition(">")
        here = self.find(first)
        inside = rest if here is not None and self.entries[here] is entry else ""
        return Menu(menu.entries, inside, self.timeout)


def choose(menu: Menu) -> Entry:
    """The entry that boots by default; BootError if there is none."""
    for _ in range(_DEEPEST):
        if not menu.entries:
            break
        entry = menu.entries[menu.default_number]
        if entry.submenu is None:
            return entry
        menu = menu.enter(entry)
    raise BootError("the menu has no entry to boot")


def choose_named(menu: Menu, wanted: str) -> Entry:
    """The entry that a number, a title or an id means, as in a default; BootError."""
    first, _, rest = wanted.partition(">")
    number = menu.find(wanted)
    if number is None:
        number = menu.find(first)
    if number is None:
        titles = ", ".join(f"'{entry.title}'" for entry in menu.entries)
        raise BootError(f"the menu has no entry '{first}', but {titles or 'none at all'}")
    entry = menu.entries[number]
    if entry.submenu is None:
        return entry
    inside = entry.submenu()
    return choose_named(inside, rest) if rest else choose(inside)
