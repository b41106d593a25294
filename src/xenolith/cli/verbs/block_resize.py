"""`xl block-resize`: tell a guest that the image of a disk has another length now."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
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
    return single_request.of_domain(arguments, TWO, Toolstack.measure_disk)
