"""`vhd coalesce`: a link of a chain into its parent."""

from __future__ import annotations

import os

from xenolith.cli.command import AT_LEAST_ONE, parse_options
from xenolith.cli.progress_bar import progress_bar
from xenolith.storage.snapshot import coalesce

NAME = "coalesce"
SYNOPSIS = "[--delete] IMAGE [DESCENDANT...]"
HELP = """\
Move what an image holds into its parent
The parent must have no other children. IMAGE is empty then, and shows what the parent holds.
DESCENDANT is an image whose chain IMAGE is in; IMAGE is taken out of that.
-d, --delete            Delete IMAGE in the end.
"""
SHORT = "d"
LONG = {"delete": "d"}


def run(arguments: list[str]) -> int:
    """Move it."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    image, *descendants = options.operands
    with progress_bar(image) as progress:
        coalesce(image, descendants, progress)
    if "d" in options:
        os.unlink(image)
    return 0
