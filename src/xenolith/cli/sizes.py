"""Amounts of memory on the command line, as xl(1) reads them (tools/xl/xl_utils.c)."""

from __future__ import annotations

import re

from xenolith.cli.command import CommandError

_SIZE = re.compile(r"([0-9]{1,18})([bkmgt]?)", re.IGNORECASE)

_KIB_SHIFT = {"k": 0, "m": 10, "": 10, "g": 20, "t": 30}


def memory_kib(text: str) -> int:
    """KiB from a number with suffix b, k, m (the default), g or t; CommandError otherwise."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise CommandError(f"'{text}' is not an amount of memory, such as 512, 512m or 2g")
    amount, unit = int(match[1]), match[2].lower()
    return amount >> 10 if unit == "b" else amount << _KIB_SHIFT[unit]
