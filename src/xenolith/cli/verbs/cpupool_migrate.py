"""`xl cpupool-migrate`: a domain that moves into another CPU pool."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import TWO

NAME = "cpupool-migrate"
SYNOPSIS = "DOMAIN CPUPOOL"
HELP = "Move a domain into a CPU pool\n"
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Move the domain."""
    return single_request.of_domain(
        arguments,
        TWO,
        lambda toolstack, domid, pool: toolstack.cpus.migrate_to_cpupool(domid, pool),
    )
