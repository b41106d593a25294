"""`xl debug-keys`: debug keys of the hypervisor."""

from __future__ import annotations

from xenolith.cli.command import AT_LEAST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "debug-keys"
SYNOPSIS = "KEYS..."
HELP = """\
Press debug keys of the hypervisor, which answer in its log (xl dmesg)
h lists them.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Press the keys."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    with Toolstack.connect() as toolstack:
        toolstack.debug_keys("".join(options.operands))
    return 0
