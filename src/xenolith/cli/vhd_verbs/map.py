"""`vhd map`: where the contents of an image are."""

from __future__ import annotations

import json
from collections.abc import Iterator

from xenolith.cli.command import ONE, parse_options
from xenolith.storage.open import open_image
from xenolith.storage.placement import Placement, placements

NAME = "map"
SYNOPSIS = "[--json] [--from=raw|vhd] IMAGE"
HELP = """\
Print where the contents of an image are
A line is a run of bytes of the disk: its start, its length, the file that holds it, and where in
that it is. What is not listed is nowhere, and reads as zeroes.
--json                  Print all runs as JSON, zeroes too.
--from=FORMAT           What IMAGE is: vhd (the default) or raw.
"""
SHORT = "f:"
LONG = {"json": "j", "from": "f"}


def run(arguments: list[str]) -> int:
    """Print the runs."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    live = open_image(options.operands[0], options.given.get("f", "vhd"), writable=False)
    try:
        runs = placements(live.image)
        if "j" in options:
            print(json.dumps([_as_json(run) for run in runs], indent=4))
        else:
            for line in _lines(runs):
                print(line)
    finally:
        live.close()
    return 0


def _as_json(run: Placement) -> dict[str, object]:
    fields: dict[str, object] = {
        "start": run.start,
        "length": run.end - run.start,
        "depth": run.depth,
        "data": run.is_data,
    }
    if run.file is not None:
        fields |= {"filename": run.file.name, "offset": run.offset}
    return fields


def _lines(runs: Iterator[Placement]) -> Iterator[str]:
    yield f"{'start':>16} {'length':>16} {'offset':>16}  file"
    for run in runs:
        if run.file is not None and run.is_data:
            yield f"{run.start:>16} {run.end - run.start:>16} {run.offset:>16}  {run.file.name}"
