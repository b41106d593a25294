"""`xl cpupool-numa-split`: a CPU pool for each NUMA node."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import NONE
from xenolith.toolstack.client_cpus import CpuRequests

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
    return single_request.of_cpupools(arguments, NONE, CpuRequests.split_cpupools_by_node)
