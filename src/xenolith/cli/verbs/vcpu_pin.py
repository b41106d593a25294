"""`xl vcpu-pin`: the host CPUs on which vCPUs may run."""

from __future__ import annotations

from xenolith.cli.command import CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "vcpu-pin"
SYNOPSIS = "[-f] DOMAIN VCPU|all HARD|-|all [SOFT|-|all]"
HELP = """\
Set on which host CPUs a vCPU may run, and would rather run
A list such as 0-3,^1 or node:0; - leaves it as it is. The vCPUs of a domain share a thread, which
may run wherever one of them may. The soft list only says where it goes on now; it may move.
-f, --force             Accepted: there is no other pinning that could be overridden.
"""
SHORT = "f"
LONG = {"force": "f"}

_UNCHANGED = "-"


def run(arguments: list[str]) -> int:
    """Pin the vCPU, or all."""
    options = parse_options(arguments, SHORT, LONG, range(3, 5))
    name, which, hard, *rest = options.operands
    soft = rest[0] if rest else _UNCHANGED
    if which != "all" and not (which.isascii() and which.isdigit() and len(which) < 6):
        raise CommandError(f"'{which}' is not the number of a vCPU")
    with Toolstack.connect() as toolstack:
        toolstack.pin_vcpu(
            toolstack.resolve(name),
            None if which == "all" else int(which),
            None if hard == _UNCHANGED else hard,
            None if soft == _UNCHANGED else soft,
        )
    return 0
