"""`xl dmesg`: the hypervisor's log."""

from __future__ import annotations

import sys

from xenolith.cli.command import NONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "dmesg"
SYNOPSIS = "[-c]"
HELP = """\
Print the hypervisor's log
-c, --clear             Empty it.
"""
SHORT = "c"
LONG = {"clear": "c"}


def run(arguments: list[str]) -> int:
    """Print the log."""
    options = parse_options(arguments, SHORT, LONG, NONE)
    with Toolstack.connect() as toolstack:
        sys.stdout.write(toolstack.clear_dmesg() if "c" in options else toolstack.dmesg())
    return 0
