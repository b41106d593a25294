"""`xl info`: the host, its memory and its hypervisor."""

from __future__ import annotations

import json

from xenolith.cli import tables
from xenolith.cli.command import AT_MOST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "info"
SYNOPSIS = "[-n] [--json] [KEY]"
HELP = """\
Print information about the host
With KEY, print the values of the lines that begin with it.
-n, --numa              Add the topology of CPUs and NUMA nodes.
--json                  Print the lines as JSON; with KEY only those.
"""
SHORT = "n"
LONG = {"numa": "n", "json": "j"}

_AFTER_TOPOLOGY = "xen_major"


def run(arguments: list[str]) -> int:
    """Print the lines that the options ask for."""
    options = parse_options(arguments, SHORT, LONG, AT_MOST_ONE)
    with Toolstack.connect() as toolstack:
        info = toolstack.info()
    if "j" in options:
        wanted = "".join(options.operands)
        found = {key: value for key, value in info.items() if key.startswith(wanted)}
        print(json.dumps(found, indent=4))
    elif "n" in options:
        _print_with_topology(info)
    elif options.operands:
        for value in tables.info_values(info, options.operands[0]):
            print(value)
    else:
        for line in tables.info_lines(info):
            print(line)
    return 0


def _print_with_topology(info: dict[str, str]) -> None:
    from xenolith.cli import topology  # noqa: PLC0415 - for -n only

    for key, line in zip(info, tables.info_lines(info), strict=True):
        if key == _AFTER_TOPOLOGY:
            print("\n".join(topology.lines()))
        print(line)
