"""`xl dump-core`: a domain's memory in a file."""

from __future__ import annotations

import os

from xenolith.cli.command import TWO, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "dump-core"
SYNOPSIS = "DOMAIN FILE"
HELP = """\
Write a domain's memory to an ELF core file
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Write the core file."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    domain, path = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.dump_core(toolstack.resolve(domain), os.path.abspath(path))
    return 0
