"""Boot loader specification entries, files in loader/entries (uapi-group.org), in GRUB's order.

They are what Fedora's grub.cfg has instead of menu entries, and all that systemd-boot has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cmp_to_key
from itertools import zip_longest

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.grub.commands import LARGEST_FILE
from xenolith.bootloader.menu import Boot, Entry
from xenolith.bootloader.volumes import FileRef

_MOST_FILES = 256
_SEGMENT = re.compile(r"~|[0-9]+|[a-zA-Z]+")

Expand = Callable[[str], str]
"""Replaces the variables in a text by their values."""


def bls_entries(
    directory: FileRef, file: Callable[[str], FileRef], expand: Expand
) -> Iterator[Entry]:
    """The entries in a directory, newest first; files that cannot be read are left out.

    ``file`` finds those that they name.
    """
    files = directory.volume.files
    names = [name for name in files.names(directory.path) if name.lower().endswith(".conf")]
    stems = sorted((name[: -len(".conf")] for name in names[:_MOST_FILES]), key=_by_version)
    for stem in reversed(stems):
        try:
            data = files.read(f"{directory.path}/{stem}.conf", LARGEST_FILE)
        except BootError:
            continue
        fields = _fields(data.decode(errors="replace"))
        if "linux" in fields:
            yield _entry(stem, fields, file, expand)


def compare_versions(left: str, right: str) -> int:
    """As rpm compares versions: below, at or above 0."""
    for one, other in zip_longest(_SEGMENT.findall(left), _SEGMENT.findall(right), fillvalue=""):
        if one == other:
            continue
        # A tilde comes before everything, even before the end.
        if "~" in (one, other):
            return -1 if one == "~" else 1
        if not one or not other:
            return 1 if one else -1
        if one.isdigit() != other.isdigit():
            return 1 if one.isdigit() else -1
        if one.isdigit() and _number(one) != _number(other):
            return 1 if _number(one) > _number(other) else -1
        if not one.isdigit():
            return 1 if one > other else -1
    return 0


def _number(digits: str) -> tuple[int, str]:
    """Sorts strings of digits by their value, however long they are."""
    stripped = digits.lstrip("0")
    return len(stripped), stripped


_by_version = cmp_to_key(compare_versions)


def _fields(text: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            fields.setdefault(key, []).append(value.strip())
    return fields


def _entry(
    stem: str, fields: dict[str, list[str]], file: Callable[[str], FileRef], expand: Expand
) -> Entry:
    def load() -> Boot:
        ramdisks = [path for value in fields.get("initrd", ()) for path in expand(value).split()]
        options = " ".join(expand(value) for value in fields.get("options", ()))
        kernel = expand(fields["linux"][0])
        return Boot(file(kernel), tuple(map(file, ramdisks)), " ".join(options.split()))

    title = fields.get("title", [stem])[0]
    return Entry(title, (stem, f"{stem}.conf", *fields.get("id", ())), load)
