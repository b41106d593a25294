"""`xl cd-insert`: put a medium into a drive of a running domain."""

from __future__ import annotations

import os

from xenolith.cli.command import parse_options
from xenolith.toolstack.client import Toolstack

NAME = "cd-insert"
SYNOPSIS = "DOMAIN DRIVE FILE"
HELP = """\
Insert a medium into a drive of a domain
DRIVE is the name of a disk with devtype=cdrom, FILE a raw image or a block device.
"""
SHORT = ""
LONG: dict[str, str] = {}

_THREE = range(3, 4)


def run(arguments: list[str]) -> int:
    """Insert the medium in place of the one that is there."""
    domain, drive, file = parse_options(arguments, SHORT, LONG, _THREE).operands
    with Toolstack.connect() as toolstack:
        toolstack.insert_medium(toolstack.resolve(domain), drive, os.path.abspath(file))
    return 0
