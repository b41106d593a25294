"""`xl sched-rtds`: that scheduler is never in use here, and it says so as xl would."""

from __future__ import annotations

from xenolith.cli.other_scheduler import refuse_unless_listing

NAME = "sched-rtds"
SYNOPSIS = "[-d DOMAIN [-v VCPU|all] [-p US] [-b US] [-e 0|1]] [-c CPUPOOL]"
HELP = """\
Get or set the parameters of the rtds scheduler, which is not in use here
Use sched-credit. Without options there is nothing to list.
-d, --domain=DOMAIN     Of this domain.
-v, --vcpuid=VCPU       Of one of its vCPUs, or of all.
-p, --period=US         The period.
-b, --budget=US         How long it runs in each period.
-e, --extratime=0|1     Whether it may run longer where there is time.
-c, --cpupool=CPUPOOL   The pool.
"""
SHORT = "d:v:p:b:e:c:"
LONG = {
    "domain": "d",
    "vcpuid": "v",
    "period": "p",
    "budget": "b",
    "extratime": "e",
    "cpupool": "c",
}


def run(arguments: list[str]) -> int:
    """List nothing, or fail."""
    return refuse_unless_listing("rtds", arguments, SHORT, LONG, narrowing="c")
