"""`xl trigger`: events of the virtual hardware."""

from __future__ import annotations

import sys

from xenolith.cli.command import CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "trigger"
SYNOPSIS = "DOMAIN nmi|reset|init|power|sleep|s3resume [VCPU]"
HELP = """\
Send a trigger to a domain
nmi, init and reset go to one vCPU, 0 if none is given. A PVH domain has no ACPI buttons: power asks
its kernel to power off, as xl shutdown does; sleep and s3resume are refused.
"""
SHORT = ""
LONG: dict[str, str] = {}

TRIGGERS = ("nmi", "reset", "init", "power", "sleep", "s3resume")


def run(arguments: list[str]) -> int:
    """Send the trigger."""
    options = parse_options(arguments, SHORT, LONG, range(2, 4))
    domain, name, *rest = options.operands
    if name not in TRIGGERS:
        raise CommandError(f"'{name}' is no trigger, those are {', '.join(TRIGGERS)}")
    vcpu = rest[0] if rest else "0"
    if not (vcpu.isascii() and vcpu.isdigit() and len(vcpu) < 6):
        raise CommandError(f"'{vcpu}' is not the number of a vCPU")
    with Toolstack.connect() as toolstack:
        instead = toolstack.trigger(toolstack.resolve(domain), name, int(vcpu))
    if instead:
        print(instead, file=sys.stderr)
    return 0
