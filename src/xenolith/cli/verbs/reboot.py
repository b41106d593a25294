"""`xl reboot`: ask guests to reboot."""

from __future__ import annotations

from xenolith.cli.command import AT_MOST_ONE, parse_options
from xenolith.cli.guest_request import Request, ask

NAME = "reboot"
SYNOPSIS = "[OPTIONS] -a|DOMAIN"
HELP = """\
Ask a domain to reboot
-a, --all               Ask all guests.
-w, --wait              Wait until they have ended, to come up again.
-F                      Press the reset button where the guest cannot be asked.
"""
SHORT = "awF"
LONG = {"all": "a", "wait": "w"}


def run(arguments: list[str]) -> int:
    """Ask, and with -w wait."""
    return ask(Request.REBOOT, parse_options(arguments, SHORT, LONG, AT_MOST_ONE))
