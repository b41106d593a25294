"""`xl pause`: stop a domain's vCPUs."""

from __future__ import annotations

from xenolith.cli.command import ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "pause"
SYNOPSIS = "DOMAIN"
HELP = """\
Stop a domain's vCPUs; its memory and devices stay
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Pause the domain."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    with Toolstack.connect() as toolstack:
        toolstack.pause(toolstack.resolve(options.operands[0]))
    return 0
