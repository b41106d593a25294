"""`xl destroy`: end a domain at once."""

from __future__ import annotations

from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "destroy"
SYNOPSIS = "[-f] DOMAIN"
HELP = """\
End a domain at once, without asking the guest
-f                      Accepted as by xl, whose Domain-0 it means; here that is the host.
"""
SHORT = "f"
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Destroy the domain."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    with Toolstack.connect() as toolstack:
        domid = toolstack.resolve(options.operands[0])
        if domid == 0:
            raise CommandError("Domain-0 is this host and cannot be destroyed")
        toolstack.destroy(domid)
    return 0
