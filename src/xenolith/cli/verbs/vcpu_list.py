"""`xl vcpu-list`: the virtual CPUs of domains."""

from __future__ import annotations

import json

from xenolith.cli import tables
from xenolith.cli.command import ANY_NUMBER, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "vcpu-list"
SYNOPSIS = "[--json] [DOMAIN...]"
HELP = """\
List the vCPUs of all domains or of some
--json                  Print the table as JSON.
"""
SHORT = ""
LONG = {"json": "j"}


def run(arguments: list[str]) -> int:
    """Print one line for each vCPU."""
    options = parse_options(arguments, SHORT, LONG, ANY_NUMBER)
    with Toolstack.connect() as toolstack:
        names = {domain.domid: domain.name for domain in toolstack.list()}
        domids = [toolstack.resolve(word) for word in options.operands] or list(names)
        vcpus = [vcpu for domid in domids for vcpu in toolstack.vcpus(domid)]
    if "j" in options:
        rows = [{"name": names.get(vcpu.domid), **vcpu._asdict()} for vcpu in vcpus]
        print(json.dumps(rows, indent=4))
        return 0
    print(tables.VCPU_HEADER)
    for vcpu in vcpus:
        print(tables.vcpu_row(names.get(vcpu.domid, ""), vcpu))
    return 0
