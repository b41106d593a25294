"""`xl cpupool-destroy`: the end of an empty CPU pool."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import ONE
from xenolith.toolstack.client_cpus import CpuRequests

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
    return single_request.of_cpupools(arguments, ONE, CpuRequests.destroy_cpupool)
