"""`xl sched-credit2`: that scheduler is never in use here, and it says so as xl would."""

from __future__ import annotations

from xenolith.cli.other_scheduler import refuse_unless_listing

NAME = "sched-credit2"
SYNOPSIS = "[-d DOMAIN [-w WEIGHT] [-c CAP] | -s [-r US] [-p CPUPOOL]]"
HELP = """\
Get or set the parameters of the credit2 scheduler, which is not in use here
Use sched-credit. Without options there is nothing to list.
-d, --domain=DOMAIN     Of this domain.
-w, --weight=WEIGHT     How much it gets beside others.
-c, --cap=CAP           The most it gets, in percent of one host CPU.
-s, --schedparam        Of the scheduler of a pool.
-r, --ratelimit_us=US   How long a vCPU goes on when another is woken.
-p, --cpupool=CPUPOOL   The pool.
"""
SHORT = "d:w:c:sr:p:"
LONG = {
    "domain": "d",
    "weight": "w",
    "cap": "c",
    "schedparam": "s",
    "ratelimit_us": "r",
    "cpupool": "p",
}


def run(arguments: list[str]) -> int:
    """List nothing, or fail."""
    return refuse_unless_listing("credit2", arguments, SHORT, LONG, narrowing="p")
