"""`xl vm-list`: the guests by UUID."""

from __future__ import annotations

from xenolith.cli import tables
from xenolith.cli.command import NONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "vm-list"
SYNOPSIS = ""
HELP = """\
List guests with their UUIDs, Domain-0 left out
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Print one line for each guest."""
    parse_options(arguments, SHORT, LONG, NONE)
    with Toolstack.connect() as toolstack:
        domains = toolstack.list()
    print(tables.VM_HEADER)
    for domain in domains:
        if domain.domid:
            print(tables.vm_row(domain))
    return 0
