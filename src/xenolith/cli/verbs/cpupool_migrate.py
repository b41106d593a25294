"""`xl cpupool-migrate`: a domain that moves into another CPU pool."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-migrate"
SYNOPSIS = "DOMAIN CPUPOOL"
HELP = "Move a domain into a CPU pool\n"
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Move the domain."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, pool = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.cpus.migrate_to_cpupool(toolstack.resolve(domain), pool)
    return 0
