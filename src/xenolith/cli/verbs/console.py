"""`xl console`: the guest's console in this terminal."""

from __future__ import annotations

from xenolith.cli import terminal
from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "console"
SYNOPSIS = "[OPTIONS] DOMAIN"
HELP = """\
Attach to a domain's console; ^] leaves it
-t TYPE                 The type of console: pv, the only one that domains have so far.
-n NUMBER               The number of the console: 0, the only one that domains have so far.
-e, --escape=CHARACTER  Leave with this character, such as ^A, instead of ^].
"""
SHORT = "t:n:e:"
LONG = {"escape": "e"}

_TYPES = ("pv", "serial", "vuart")


def run(arguments: list[str]) -> int:
    """Show the console until the user leaves it or the domain ends."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    kind, number = options.given.get("t", "pv"), options.given.get("n", "0")
    if kind not in _TYPES:
        raise CommandError(f"'{kind}' is no type of console, those are {', '.join(_TYPES)}")
    if kind != "pv" or number != "0":
        raise CommandError(f"the domain has no {kind} console {number}")
    escape = terminal.parse_escape(options.given["e"]) if "e" in options else terminal.ESCAPE
    with Toolstack.connect() as toolstack:
        console = toolstack.console_of(options.operands[0])
    with console:
        terminal.attach(console, escape)
    return 0
