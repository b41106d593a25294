"""`xl cpupool-rename`: another name for a CPU pool."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cpupool-rename"
SYNOPSIS = "CPUPOOL NEW-NAME"
HELP = "Give a CPU pool another name\n"
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Rename the pool."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    pool, name = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.cpus.rename_cpupool(pool, name)
    return 0
