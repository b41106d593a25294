"""`xl sched-credit`: weights and caps of domains, and how the pools' scheduler works (tools/xl/xl_sched.c)."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from xenolith.cli import tables
from xenolith.cli.command import NONE, CommandError, Options, parse_options
from xenolith.toolstack.client import Toolstack
from xenolith.toolstack.records import CreditInfo

NAME = "sched-credit"
SYNOPSIS = "[-d DOMAIN [-w WEIGHT] [-c CAP]] [-s [-t MS] [-r US]] [-p CPUPOOL]"
HELP = """\
Get or set the parameters of the credit scheduler
Without options, list all pools and their domains.
-d, --domain=DOMAIN     Of this domain.
-w, --weight=WEIGHT     How much it gets beside others: 1 to 65535, usually 256.
-c, --cap=CAP           The most it gets, in percent of one host CPU; 0 is no cap.
-s, --schedparam        Of the scheduler of a pool.
-t, --tslice_ms=MS      How long a vCPU's turn lasts, 1 to 1000 ms.
-r, --ratelimit_us=US   How long it goes on when another is woken, 0 or 100 to 500000 us.
-m, --migration_delay_us=US
                        0 to 100000 us; kept and shown, but without effect on this host.
-p, --cpupool=CPUPOOL   The pool; with -s Pool-0 if there is none.
"""
SHORT = "d:w:c:st:r:m:p:"
LONG = {
    "domain": "d",
    "weight": "w",
    "cap": "c",
    "schedparam": "s",
    "tslice_ms": "t",
    "ratelimit_us": "r",
    "migration_delay_us": "m",
    "cpupool": "p",
}


_NO_DELAY = (
    "The migration delay is kept, but has no effect: the host's scheduler moves domains between CPUs, by its own"
    " migration_cost_ns."
)


def run(arguments: list[str]) -> int:
    """Print or set what the options name."""
    options = parse_options(arguments, SHORT, LONG, NONE)
    _check(options)
    weight, cap = _number(options, "w"), _number(options, "c")
    tslice, ratelimit, delay = (_number(options, letter) for letter in "trm")
    changes_domain = any(letter in options for letter in "wc")
    changes_pool = any(letter in options for letter in "trm")
    with Toolstack.connect() as toolstack:
        if changes_domain:
            toolstack.cpus.set_credit(toolstack.resolve(options.given["d"]), weight, cap)
        elif changes_pool:
            pool = options.given.get("p", "0")
            toolstack.cpus.set_cpupool_parameters(pool, tslice, ratelimit, delay)
            if delay:
                print(_NO_DELAY, file=sys.stderr)
        elif "d" in options:
            domid = toolstack.resolve(options.given["d"])
            _print_domains(info for info in toolstack.cpus.credits() if info.domid == domid)
        elif "s" in options:
            print(tables.credit_pool(toolstack.cpus.cpupool(options.given.get("p", "0"))))
        else:
            _list(toolstack, options)
    return 0


def _check(options: Options) -> None:
    """The combinations that xl refuses, in its words."""
    if ("p" in options or "s" in options) and any(letter in options for letter in "dwc"):
        raise CommandError("Specifying a cpupool or schedparam is not allowed with domain options")
    if "d" not in options and any(letter in options for letter in "wc"):
        raise CommandError("Must specify a domain")
    if "s" not in options and any(letter in options for letter in "trm"):
        raise CommandError("Must specify schedparam to set schedule parameter values")


def _number(options: Options, letter: str) -> int | None:
    text = options.given.get(letter)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise CommandError(f"'{text}', given with -{letter}, is not a number") from None


def _list(toolstack: Toolstack, options: Options) -> None:
    pools = (
        [toolstack.cpus.cpupool(options.given["p"])]
        if "p" in options
        else toolstack.cpus.cpupools()
    )
    domains = toolstack.cpus.credits()
    for pool in pools:
        print(tables.credit_pool(pool))
        _print_domains(info for info in domains if info.cpupool == pool.name)


def _print_domains(domains: Iterable[CreditInfo]) -> None:
    print(tables.CREDIT_HEADER)
    for domain in domains:
        print(tables.credit_row(domain))
