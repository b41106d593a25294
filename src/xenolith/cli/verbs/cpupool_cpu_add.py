"""`xl cpupool-cpu-add`: more CPUs for a CPU pool."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-cpu-add"
SYNOPSIS = "CPUPOOL CPUS"
HELP = """\
Put free CPUs into a CPU pool
CPUS is a list such as 0-3,^1 or node:0; all of them must be free, or in the pool already.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Add the CPUs."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    pool, cpus = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.cpus.add_cpus_to_cpupool(pool, cpus)
    return 0
