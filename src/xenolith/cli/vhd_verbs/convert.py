"""`vhd convert`: the contents of an image in another format."""

from __future__ import annotations

from xenolith.cli.command import TWO, UsageError, parse_options
from xenolith.cli.progress_bar import progress_bar
from xenolith.storage.convert import Target, convert

NAME = "convert"
SYNOPSIS = "[--from=raw|vhd] [--to=raw|vhd|vhd-fixed] IN OUT"
HELP = """\
Copy the contents of an image to a new one of another format
A chain becomes one file. Zeroes are left out: OUT is as sparse as can be.
--from=FORMAT           What IN is: vhd (the default) or raw.
--to=FORMAT             What OUT is to be: vhd (the default), vhd-fixed or raw.
"""
SHORT = "f:t:"
LONG = {"from": "f", "to": "t"}


def run(arguments: list[str]) -> int:
    """Copy it."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    source, destination = options.operands
    to = options.given.get("t", Target.DYNAMIC)
    if to not in list(Target):
        raise UsageError(f"'{to}' is not a format (use one of {', '.join(Target)})")
    with progress_bar(destination) as progress:
        convert(source, options.given.get("f", "vhd"), destination, Target(to), progress)
    return 0
