"""`xl domname`: from number to name."""

from __future__ import annotations

from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "domname"
SYNOPSIS = "DOMAIN-ID"
HELP = """\
Print the name of the domain with this ID
"""
SHORT = ""
LONG: dict[str, str] = {}

MAX_DIGITS = 5
"""Domain IDs end at 0x7ff0, DOMID_FIRST_RESERVED of public/xen.h."""


def run(arguments: list[str]) -> int:
    """Print the name."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    text = options.operands[0]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise CommandError(f"'{text}' is not a domain ID")
    with Toolstack.connect() as toolstack:
        for domain in toolstack.list():
            if domain.domid == int(text):
                print(domain.name)
                return 0
    raise CommandError(f"there is no domain with ID {text}")
