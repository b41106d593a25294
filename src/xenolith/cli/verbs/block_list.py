"""`xl block-list`: the disks of domains, in xl's own columns."""

from __future__ import annotations

import json

from xenolith.cli.command import AT_LEAST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "block-list"
SYNOPSIS = "[--json] DOMAIN..."
HELP = """\
List the disks of domains
--json                  Print the table as JSON.
"""
SHORT = ""
LONG = {"json": "j"}

# As in main_blocklist of tools/xl/xl_block.c.
_ROW = "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}"
_HEADER = _ROW.format("Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path")


def run(arguments: list[str]) -> int:
    """Print one line for each disk."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    with Toolstack.connect() as toolstack:
        domids = [toolstack.resolve(word) for word in options.operands]
        disks = [disk for domid in domids for disk in toolstack.devices(domid, "vbd")]
    if "j" in options:
        print(json.dumps([disk._asdict() for disk in disks], indent=4))
        return 0
    print(_HEADER)
    for disk in disks:
        print(
            _ROW.format(
                disk.devid,
                disk.backend_domid,
                disk.frontend_domid,
                disk.state,
                disk.event_channel,
                disk.ring_ref,
                disk.backend,
            )
        )
    return 0
