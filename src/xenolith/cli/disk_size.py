"""Sizes of disks on a command line."""

from __future__ import annotations

import re

from xenolith.cli.command import CommandError

_SIZE = re.compile(r"([0-9]{1,18})([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_SHIFT = {"b": 0, "": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def disk_size(text: str) -> int:
    """Bytes from a number with suffix k, m, g or t, or none; rounded up to whole sectors."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise CommandError(f"'{text}' is not the size of a disk, such as 512m or 20g")
    size = int(match[1]) << _SHIFT[match[2].lower()]
    return -(-size // 512) * 512


def shown(size: int) -> str:
    """A size for people, with the exact one."""
    amount, unit = float(size), "bytes"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, bigger
    return f"{size} bytes" if unit == "bytes" else f"{amount:.4g} {unit} ({size} bytes)"
