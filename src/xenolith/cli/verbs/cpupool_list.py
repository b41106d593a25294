"""`xl cpupool-list`: the CPU pools."""

from __future__ import annotations

from xenolith.cli import tables
from xenolith.cli.command import AT_MOST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-list"
SYNOPSIS = "[-c] [CPUPOOL]"
HELP = """\
List all CPU pools or one of them
-c, --cpus              List the CPUs that each of them has.
"""
SHORT = "c"
LONG = {"cpus": "c"}


def run(arguments: list[str]) -> int:
    """Print one line for each pool."""
    options = parse_options(arguments, SHORT, LONG, AT_MOST_ONE)
    with Toolstack.connect() as toolstack:
        wanted = options.operands
        pools = [toolstack.cpus.cpupool(wanted[0])] if wanted else toolstack.cpus.cpupools()
    if "c" in options:
        print(tables.CPUPOOL_CPUS_HEADER)
        for pool in pools:
            print(tables.cpupool_cpus_row(pool))
    else:
        print(tables.CPUPOOL_LIST_HEADER)
        for pool in pools:
            print(tables.cpupool_row(pool))
    return 0
