"""`xl cpupool-rename`: another name for a CPU pool."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO
from xenolith.toolstack.client_cpus import CpuRequests

NAME = "cpupool-rename"
SYNOPSIS = "CPUPOOL NEW-NAME"
HELP = "Give a CPU pool another name\n"
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Rename the pool."""
    return single_request.of_cpupools(arguments, TWO, CpuRequests.rename_cpupool)
