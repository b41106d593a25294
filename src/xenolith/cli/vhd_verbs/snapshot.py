"""`vhd snapshot`: a child that keeps what is written from now on."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.storage.snapshot import snapshot

NAME = "snapshot"
SYNOPSIS = "[--raw] PARENT CHILD"
HELP = """\
Make a child of an image, which is not to be changed from then on
The child shows the parent's disk, and keeps in its own file what is written to it.
--raw                   The parent is a raw image, not a VHD.
"""
SHORT = ""
LONG = {"raw": "r"}


def run(arguments: list[str]) -> int:
    """Make it."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    parent, child = options.operands
    snapshot(parent, "raw" if "r" in options else "vhd", child)
    return 0
