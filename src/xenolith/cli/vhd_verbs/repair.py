"""`vhd repair`: make an image sound again, as far as that can be."""

from __future__ import annotations

from xenolith.cli.command import ONE, CommandError, parse_options
from xenolith.cli.progress_bar import progress_bar
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.vhd.parent import open_parent, parent_header
from xenolith.storage.vhd.repair import repair
from xenolith.storage.vhd.rewrite import accept_parent

NAME = "repair"
SYNOPSIS = "[--accept-parent] IMAGE"
HELP = """\
Make an image sound again, as far as that can be
What is done is printed. Blocks whose data is lost are given up: they read as zeroes then, or as
the parent has them. Take a copy first if the data matters.
--accept-parent         Use the parent as it is now, though it was modified after IMAGE was made.
"""
SHORT = ""
LONG = {"accept-parent": "a"}


def run(arguments: list[str]) -> int:
    """Repair it and print what was done."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    path = options.operands[0]
    file = open_locked(path, Access.WRITE)
    try:
        with progress_bar(path) as progress:
            done = repair(file, progress)
        if "a" in options:
            head = parent_header(file)
            if head is None:
                raise CommandError(f"{path} has no parent")
            parent = open_parent(file, head)
            try:
                accept_parent(file, parent)
            finally:
                parent.close()
            done.append(f"took note of {parent.name} as it is now")
    finally:
        file.close()
    for line in done or ["there was nothing to repair"]:
        print(f"{path}: {line}")
    return 0
