"""`xl unpause`: let a paused domain run."""

from __future__ import annotations

from xenolith.cli.command import ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "unpause"
SYNOPSIS = "DOMAIN"
HELP = """\
Let a paused domain run
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Unpause the domain."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    with Toolstack.connect() as toolstack:
        toolstack.unpause(toolstack.resolve(options.operands[0]))
    return 0
