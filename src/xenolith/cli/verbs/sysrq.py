"""`xl sysrq`: magic SysRq keys."""

from __future__ import annotations

from xenolith.cli.command import TWO, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "sysrq"
SYNOPSIS = "DOMAIN LETTER"
HELP = """\
Press a magic SysRq key in a Linux guest
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Send the key."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, letter = options.operands
    if len(letter) != 1 or not letter.isascii() or not letter.isprintable():
        raise CommandError(f"'{letter}' is not one letter")
    with Toolstack.connect() as toolstack:
        toolstack.sysrq(toolstack.resolve(domain), letter)
    return 0
