"""`xl network-detach`: take a network interface away from a running domain."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "network-detach"
SYNOPSIS = "[-f] DOMAIN DEVID|MAC"
HELP = """\
Detach a network interface from a domain
-f, --force             Do not wait for the guest to let go of it.
"""
SHORT = "f"
LONG = {"force": "f"}


def run(arguments: list[str]) -> int:
    """Detach the interface; return once nothing of it is left."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, nic = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.detach_nic(toolstack.resolve(domain), nic, force="f" in options)
    return 0
