"""`xl shutdown`: ask guests to power off."""

from __future__ import annotations

from xenolith.cli.command import AT_MOST_ONE, parse_options
from xenolith.cli.guest_request import Request, ask

NAME = "shutdown"
SYNOPSIS = "[OPTIONS] -a|DOMAIN"
HELP = """\
Ask a domain to shut down
-a, --all               Ask all guests.
-w, --wait              Wait until they have.
-F                      Press the ACPI power button where the guest cannot be asked.
"""
SHORT = "awF"
LONG = {"all": "a", "wait": "w"}


def run(arguments: list[str]) -> int:
    """Ask, and with -w wait."""
    return ask(Request.SHUTDOWN, parse_options(arguments, SHORT, LONG, AT_MOST_ONE))
