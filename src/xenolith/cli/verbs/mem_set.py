"""`xl mem-set`: how much memory a domain is to hold now."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.cli.sizes import memory_kib
from xenolith.toolstack.client import Toolstack

NAME = "mem-set"
SYNOPSIS = "DOMAIN SIZE"
HELP = """\
Set how much memory a domain is to use now
SIZE is in MiB unless a suffix says otherwise: b, k, m, g or t.
The guest's balloon driver does it, in its own time.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Set the memory target."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, size = options.operands
    kib = memory_kib(size)
    with Toolstack.connect() as toolstack:
        toolstack.set_memory_target(toolstack.resolve(domain), kib)
    return 0
