"""`xl block-coalesce`: do without files of a running domain's disk."""

from __future__ import annotations

import os

from xenolith.cli.command import parse_options
from xenolith.cli.progress_bar import progress_bar
from xenolith.toolstack.client import Toolstack
from xenolith.toolstack.progress_stream import follow

NAME = "block-coalesce"
SYNOPSIS = "DOMAIN DISK [FILE...]"
HELP = """\
Move files of a domain's disk into their parents
FILE is one of the VHDs that the disk consists of, by default the one that is written to; it is not
used any more in the end. Its parent must have no other children. The domain goes on meanwhile.
Ctrl-C leaves the disk as it was. An addition to xl.
"""
SHORT = ""
LONG: dict[str, str] = {}

_AT_LEAST_TWO = range(2, 1 << 30)


def run(arguments: list[str]) -> int:
    """Move one file after the other."""
    domain, disk, *files = parse_options(arguments, SHORT, LONG, _AT_LEAST_TWO).operands
    paths: list[str | None] = [os.path.abspath(file) for file in files]
    with Toolstack.connect() as toolstack:
        domid = toolstack.resolve(domain)
        for path in paths or [None]:
            with (
                toolstack.coalesce_disk(domid, disk, path) as stream,
                progress_bar(path or disk) as progress,
            ):
                follow(stream, progress)
    return 0
