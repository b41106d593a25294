"""The options of pygrub, as bootloader_args of an xl.cfg has them and as its command line takes them.

The names are those of Xen's tools/pygrub; what only matters for its output is accepted.
"""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from xenolith.bootloader.errors import BootError

_SHORT = "qilnh"
_FLAGS = {
    "-q": "quiet", "--quiet": "quiet", "-l": "list_entries", "--list-entries": "list_entries",
    "-n": "not_really", "--not-really": "not_really",
}  # fmt: skip
_TEXTS = {"--entry": "entry", "--kernel": "kernel", "--ramdisk": "ramdisk", "--args": "args"}
_NUMBERS = {"--offset": "offset", "--partition": "partition"}
_ACCEPTED = (
    "-i",
    "--interactive",
    "--debug",
    "--output-format",
    "--output",
    "--output-directory",
    "--runas",
)
_LONG = [
    *(name.removeprefix("--") for name in (*_FLAGS, "--interactive", "--debug", "--help") if "--" in name),
    *(f"{name.removeprefix('--')}=" for name in (*_TEXTS, *_NUMBERS)),
    "output-format=", "output=", "output-directory=", "runas=",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What pygrub is asked for."""

    quiet: bool = False
    """Boot the default entry without showing the menu."""
    list_entries: bool = False
    not_really: bool = False
    entry: str | None = None
    """A number, a title or an id; behind ``>`` that in the submenu."""
    kernel: str | None = None
    """A file in the guest's disk, which is booted whatever the boot loader's configuration says."""
    ramdisk: str | None = None
    args: str = ""
    """What follows the command line of the entry."""
    offset: int | None = None
    """Where the file system begins, in bytes."""
    partition: int | None = None
    """The number of the only partition to look at."""

    def to_dict(self) -> dict[str, Any]:
        """These options in JSON's types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The opposite of :meth:`to_dict`."""
        return cls(**plain)


def parse_options(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """The options among arguments, and the others; BootError says what is wrong."""
    try:
        given, rest = getopt.gnu_getopt(list(arguments), _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise BootError(f"pygrub: {error.msg}") from None
    values: dict[str, Any] = {}
    for option, value in given:
        if option in _FLAGS:
            values[_FLAGS[option]] = True
        elif option in _TEXTS:
            values[_TEXTS[option]] = value
        elif option in _NUMBERS:
            values[_NUMBERS[option]] = _number(option, value)
        elif option not in _ACCEPTED:
            raise BootError(f"pygrub: option {option} makes no sense here")
    return Options(**values), rest


def _number(option: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise BootError(f"pygrub: {option} needs a number, not '{value}'")
    return int(value)
