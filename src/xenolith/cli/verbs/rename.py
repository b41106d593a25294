"""`xl rename`: another name for a domain."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
from xenolith.toolstack.client import Toolstack

NAME = "rename"
SYNOPSIS = "DOMAIN NEW-NAME"
HELP = """\
Give a domain another name
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Rename the domain."""
    return single_request.of_domain(arguments, TWO, Toolstack.rename)
