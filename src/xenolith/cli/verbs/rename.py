"""`xl rename`: another name for a domain."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
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
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, name = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.rename(toolstack.resolve(domain), name)
    return 0
