"""`vhd resize`: another size of the disk."""

from __future__ import annotations

from xenolith.cli.command import TWO, CommandError, parse_options
from xenolith.cli.disk_size import disk_size
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.vhd.metadata import read_metadata
from xenolith.storage.vhd.resize import resize

NAME = "resize"
SYNOPSIS = "[--shrink] IMAGE SIZE"
HELP = """\
Give a disk another size
What it gains reads as zeroes. File systems and partitions on it are the guest's business.
--shrink                Cut off what is beyond SIZE; without this, nothing is ever cut off.
"""
SHORT = ""
LONG = {"shrink": "s"}


def run(arguments: list[str]) -> int:
    """Resize it."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    path, size = options.operands[0], disk_size(options.operands[1])
    file = open_locked(path, Access.WRITE)
    try:
        if size < read_metadata(file).size and "s" not in options:
            raise CommandError(f"{path} is larger than that; --shrink cuts off what is beyond")
        resize(file, size)
    finally:
        file.close()
    return 0
