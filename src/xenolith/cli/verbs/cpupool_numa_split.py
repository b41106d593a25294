"""`xl cpupool-numa-split`: a CPU pool for each NUMA node."""

from __future__ import annotations

from xenolith.cli.command import NONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-numa-split"
SYNOPSIS = ""
HELP = """\
Make a CPU pool of each NUMA node
Pool-0 becomes that of the first node, with all domains; it must be the only one there is.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Split the host."""
    parse_options(arguments, SHORT, LONG, NONE)
    with Toolstack.connect() as toolstack:
        toolstack.cpus.split_cpupools_by_node()
    return 0
