"""`vhd create`: a new image."""

from __future__ import annotations

from xenolith.cli.command import TWO, UsageError, parse_options
from xenolith.cli.disk_size import disk_size
from xenolith.storage.locked_file import new_file
from xenolith.storage.vhd.create import write_dynamic, write_fixed
from xenolith.storage.vhd.header import DEFAULT_BLOCK_SIZE

NAME = "create"
SYNOPSIS = "[--fixed] [--block-size=SIZE] IMAGE SIZE"
HELP = """\
Make a new image of zeroes
SIZE is in bytes, or has a suffix k, m, g or t; a VHD has at most 2040g.
--fixed                 The file has room for the whole disk, in place.
--block-size=SIZE       Allocate in blocks of this size, a power of two; 2m is what others expect.
"""
SHORT = "b:"
LONG = {"fixed": "f", "block-size": "b"}


def run(arguments: list[str]) -> int:
    """Make it."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    path, size = options.operands[0], disk_size(options.operands[1])
    if "f" in options and "b" in options:
        raise UsageError("a fixed image has no blocks")
    block_size = disk_size(options.given["b"]) if "b" in options else DEFAULT_BLOCK_SIZE
    with new_file(path) as file:
        if "f" in options:
            write_fixed(file, size)
        else:
            write_dynamic(file, size, block_size)
    return 0
