"""`xl mem-max`: how much memory a domain may ever hold."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.cli.sizes import memory_kib
from xenolith.toolstack.client import Toolstack

NAME = "mem-max"
SYNOPSIS = "DOMAIN SIZE"
HELP = """\
Limit how much memory a domain may ever use
SIZE is in MiB unless a suffix says otherwise: b, k, m, g or t.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Set the limit."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, size = options.operands
    kib = memory_kib(size)
    with Toolstack.connect() as toolstack:
        toolstack.set_max_memory(toolstack.resolve(domain), kib)
    return 0
