"""`xl cd-eject`: take the medium out of a drive of a running domain."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
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
    return single_request.of_domain(arguments, TWO, Toolstack.eject_medium)
