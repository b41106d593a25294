"""`vhd info`: what an image says of itself."""

from __future__ import annotations

import json
from typing import Any

from xenolith.cli.command import ONE, parse_options
from xenolith.cli.disk_size import shown
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.vhd.describe import describe

NAME = "info"
SYNOPSIS = "[--json] IMAGE"
HELP = """\
Print what an image says of itself
The image may be in use meanwhile.
--json                  Print it as JSON; sizes are bytes.
"""
SHORT = ""
LONG = {"json": "j"}


def run(arguments: list[str]) -> int:
    """Print it."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    file = open_file(options.operands[0], Access.READ)
    try:
        facts = describe(file)
    finally:
        file.close()
    if "j" in options:
        print(json.dumps(facts, indent=4))
        return 0
    for name, value in facts.items():
        print(f"{name:<18}: {_as_text(name, value)}")
    return 0


def _as_text(name: str, value: Any) -> str:
    if name.endswith("-size"):
        return shown(value)
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
