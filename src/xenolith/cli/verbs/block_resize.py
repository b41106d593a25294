"""`xl block-resize`: tell a guest that the image of a disk has another length now."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "block-resize"
SYNOPSIS = "DOMAIN DISK"
HELP = """\
Tell a guest how long the image of a disk is now
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Have the disk's backend look at its image."""
    domain, disk = parse_options(arguments, SHORT, LONG, TWO).operands
    with Toolstack.connect() as toolstack:
        toolstack.measure_disk(toolstack.resolve(domain), disk)
    return 0
