"""`xl strace`: what a guest asks of the hypervisor."""

from __future__ import annotations

from xenolith.cli import terminal
from xenolith.cli.command import ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "strace"
SYNOPSIS = "DOMAIN"
HELP = """\
Show the hypercalls of a domain as they happen
One line for each, from now on until Ctrl-C or the end of the domain. An addition to xl.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Show hypercalls until the domain ends."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    with Toolstack.connect() as toolstack:
        stream = toolstack.strace(toolstack.resolve(options.operands[0]))
    with stream:
        terminal.show(stream)
    return 0
