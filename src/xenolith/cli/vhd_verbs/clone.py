"""`vhd clone`: a second image with the same contents."""

from __future__ import annotations

from xenolith.cli.command import TWO, UsageError, parse_options
from xenolith.cli.progress_bar import progress_bar
from xenolith.storage.convert import Target, convert
from xenolith.storage.snapshot import clone, free_base_name

NAME = "clone"
SYNOPSIS = "[--base=BASE | --full] IMAGE CLONE"
HELP = """\
Make a second image with the same contents, in no time
What IMAGE holds moves to a new file, the parent of both. Neither changes the other.
--base=BASE             How to call that file; else it is IMAGE with '-base' in its name.
--full                  Copy everything instead, so that the two share nothing.
"""
SHORT = "b:"
LONG = {"base": "b", "full": "f"}


def run(arguments: list[str]) -> int:
    """Make it, and say where the contents are now."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    image, path = options.operands
    if "f" not in options:
        base = options.given.get("b") or free_base_name(image)
        clone(image, base, path)
        print(f"{image} and {path} are children of {base} now")
        return 0
    if "b" in options:
        raise UsageError("a full copy has no base")
    with progress_bar(path) as progress:
        convert(image, "vhd", path, Target.DYNAMIC, progress)
    return 0
