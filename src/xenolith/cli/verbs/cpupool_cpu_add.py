"""`xl cpupool-cpu-add`: more CPUs for a CPU pool."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
from xenolith.toolstack.client_cpus import CpuRequests

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
    return single_request.of_cpupools(arguments, TWO, CpuRequests.add_cpus_to_cpupool)
