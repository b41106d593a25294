"""The section ``__xen_guest``, in which kernels told Xen about themselves before there were ELF notes.

It is a string of settings, ``NAME=value,NAME=value``, as Xen's libelf reads it (elf_xen_parse_guest_info).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"0[xX]([0-9a-fA-F]{1,16})|0([0-7]{0,22})|([1-9][0-9]{0,19})")
_PAGE_SHIFT = 12
_MASK64 = (1 << 64) - 1

_STRINGS = {
    "LOADER": "loader",
    "GUEST_OS": "guest_os",
    "GUEST_VER": "guest_version",
    "XEN_VER": "xen_version",
    "PAE": "pae_mode",
    "FEATURES": "features",
    "BSD_SYMTAB": "bsd_symtab",
}
_NUMBERS = {
    "VIRT_BASE": "virt_base",
    "VIRT_ENTRY": "entry",
    "ELF_PADDR_OFFSET": "paddr_offset",
    "HYPERCALL_PAGE": "hypercall_page",
}


@dataclass(frozen=True, slots=True)
class GuestSection:
    """What such a section says, by the names that the same things have as notes."""

    strings: dict[str, str]
    numbers: dict[str, int]
    """As written, but for the hypercall page: its number has become its address."""


def parse_guest_section(content: bytes) -> GuestSection:
    """Read a section's content up to its first zero byte; ValueError names a number that is none."""
    text = content.partition(b"\0")[0].decode("ascii", "backslashreplace")
    strings: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for setting in text.split(","):
        name, _, value = setting.partition("=")
        if name in _STRINGS:
            strings[_STRINGS[name]] = value
        elif name in _NUMBERS:
            numbers[_NUMBERS[name]] = _number(name, value)
    # Addresses in the program headers are virtual ones, unless the kernel says something else.
    base = numbers.get("virt_base", 0)
    numbers.setdefault("paddr_offset", base)
    if "hypercall_page" in numbers:
        numbers["hypercall_page"] = (numbers["hypercall_page"] << _PAGE_SHIFT) + base & _MASK64
    return GuestSection(strings, numbers)


def _number(name: str, text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{name} is {text[:32]!a}, which is no number")
    hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal or octal or decimal or "0", 16 if hexadecimal else 8 if octal else 10)
    if value > _MASK64:
        raise ValueError(f"{name} is {text}, which has more than 64 bits")
    return value
