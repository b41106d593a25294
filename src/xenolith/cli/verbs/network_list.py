"""`xl network-list`: the network interfaces of domains, in xl's own columns."""

from __future__ import annotations

import json

from xenolith.cli import tables
from xenolith.cli.command import AT_LEAST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "network-list"
SYNOPSIS = "[--json] DOMAIN..."
HELP = """\
List the network interfaces of domains
--json                  Print the table as JSON, with what has gone over each interface.
"""
SHORT = ""
LONG = {"json": "j"}


def run(arguments: list[str]) -> int:
    """Print one line for each interface."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    with Toolstack.connect() as toolstack:
        domids = [toolstack.resolve(word) for word in options.operands]
        nics = [(domid, nic) for domid in domids for nic in toolstack.nics(domid)]
    if "j" in options:
        rows = [{"domid": domid, **nic._asdict()} for domid, nic in nics]
        print(json.dumps(rows, indent=4))
        return 0
    print(tables.NIC_HEADER)
    for _, nic in nics:
        print(tables.nic_row(nic))
    return 0
