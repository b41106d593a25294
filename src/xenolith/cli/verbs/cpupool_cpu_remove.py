"""`xl cpupool-cpu-remove`: CPUs that leave their CPU pool."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
from xenolith.toolstack.client_cpus import CpuRequests

NAME = "cpupool-cpu-remove"
SYNOPSIS = "CPUPOOL CPUS"
HELP = """\
Take CPUs out of a CPU pool, which are free then
CPUS is a list such as 0-3,^1 or node:0. A pool with domains keeps one CPU at least.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Remove the CPUs."""
    return single_request.of_cpupools(arguments, TWO, CpuRequests.remove_cpus_from_cpupool)
