"""`xl domid`: from name to number."""

from __future__ import annotations

from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "domid"
SYNOPSIS = "DOMAIN-NAME"
HELP = """\
Print the ID of the domain with this name
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Print the domid."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    name = options.operands[0]
    with Toolstack.connect() as toolstack:
        for domain in toolstack.list():
            if domain.name == name:
                print(domain.domid)
                return 0
    raise CommandError(f"there is no domain named '{name}'")
