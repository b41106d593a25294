"""`xl block-attach`: give a running domain another disk."""

from __future__ import annotations

import os

from xenolith.cli.command import ANY_NUMBER, UsageError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "block-attach"
SYNOPSIS = "DOMAIN DISK..."
HELP = """\
Attach a disk to a domain
DISK is what xl.cfg's disk= takes: "/images/data.vhd,vhd,xvdb,w", or its parts one by one.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Attach the disk; return once the guest is told of it."""
    domain, *parts = parse_options(arguments, SHORT, LONG, ANY_NUMBER).operands or [""]
    if not parts:
        raise UsageError("a domain and a disk are needed")
    with Toolstack.connect() as toolstack:
        toolstack.attach_disk(toolstack.resolve(domain), ",".join(parts), os.getcwd())
    return 0
