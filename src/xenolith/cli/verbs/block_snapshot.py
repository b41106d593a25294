"""`xl block-snapshot`: keep a disk of a running domain as it is now."""

from __future__ import annotations

import os

from xenolith.cli.command import UsageError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "block-snapshot"
SYNOPSIS = "DOMAIN DISK FILE"
HELP = """\
Keep a disk of a domain as it is now
FILE, a new name on the same file system, is what the disk is until now, to be copied or cloned with
'vhd snapshot'. The domain goes on, with a child of it under the name that the disk has. VHDs only.
"""
SHORT = ""
LONG: dict[str, str] = {}

_THREE = range(3, 4)


def run(arguments: list[str]) -> int:
    """Make the snapshot; return once the past is settled."""
    domain, disk, path = parse_options(arguments, SHORT, LONG, _THREE).operands
    if not os.path.basename(path):
        raise UsageError(f"'{path}' is not the name of a file")
    with Toolstack.connect() as toolstack:
        toolstack.snapshot_disk(toolstack.resolve(domain), disk, os.path.abspath(path))
    return 0
