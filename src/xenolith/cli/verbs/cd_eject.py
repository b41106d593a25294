"""`xl cd-eject`: take the medium out of a drive of a running domain."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cd-eject"
SYNOPSIS = "DOMAIN DRIVE"
HELP = """\
Eject the medium from a drive of a domain
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Leave the drive empty."""
    domain, drive = parse_options(arguments, SHORT, LONG, TWO).operands
    with Toolstack.connect() as toolstack:
        toolstack.eject_medium(toolstack.resolve(domain), drive)
    return 0
