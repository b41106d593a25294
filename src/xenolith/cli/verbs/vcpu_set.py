"""`xl vcpu-set`: how many vCPUs of a domain are online."""

from __future__ import annotations

import os

from xenolith.cli.command import TWO, CommandError, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "vcpu-set"
SYNOPSIS = "[-i] DOMAIN VCPUS"
HELP = """\
Set how many vCPUs a domain is to use, up to its maxvcpus
The guest's kernel does it, in its own time; a vCPU that is added may have to be put online in the
guest: echo 1 > /sys/devices/system/cpu/cpu1/online.
-i, --ignore-host       Allow more vCPUs than the host has CPUs.
"""
SHORT = "i"
LONG = {"ignore-host": "i"}


def run(arguments: list[str]) -> int:
    """Have the guest bring vCPUs up or take them down."""
    options = parse_options(arguments, SHORT, LONG, TWO)
    name, count = options.operands
    if not (count.isascii() and count.isdigit() and len(count) < 6):
        raise CommandError(f"'{count}' is not a number of vCPUs")
    with Toolstack.connect() as toolstack:
        domid = toolstack.resolve(name)
        if "i" not in options:
            _check_host(toolstack, domid, int(count))
        toolstack.set_vcpus(domid, int(count))
    return 0


def _check_host(toolstack: Toolstack, domid: int, count: int) -> None:
    """As in xl: less than now is never too much."""
    host = os.cpu_count() or 1
    online = sum(vcpu.online for vcpu in toolstack.vcpus(domid))
    if count > max(host, online):
        raise CommandError(
            f"{count} vCPUs are more than the host's {host} CPUs; "
            "use -i (--ignore-host) if that is meant"
        )
