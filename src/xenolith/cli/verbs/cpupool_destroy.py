"""`xl cpupool-destroy`: the end of an empty CPU pool."""

from __future__ import annotations

from xenolith.cli.command import ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-destroy"
SYNOPSIS = "CPUPOOL"
HELP = """\
Remove a CPU pool in which no domain is
Its CPUs are free then: xl cpupool-cpu-add puts them into another pool.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Remove the pool."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    with Toolstack.connect() as toolstack:
        toolstack.cpus.destroy_cpupool(options.operands[0])
    return 0
