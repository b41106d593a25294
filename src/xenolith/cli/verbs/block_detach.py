"""`xl block-detach`: take a disk away from a running domain."""

from __future__ import annotations

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "block-detach"
SYNOPSIS = "[-f] DOMAIN DISK"
HELP = """\
Detach a disk from a domain
DISK is its name, such as xvdb, or its number.
-f, --force             Do not wait for the guest to let go of it.
"""
SHORT = "f"
LONG = {"force": "f"}


def run(arguments: list[str]) -> int:
    """Detach the disk; return once its image is free."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, disk = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.detach_disk(toolstack.resolve(domain), disk, force="f" in options)
    return 0
