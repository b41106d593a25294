"""`xl uptime`: how long domains have been running."""

from __future__ import annotations

import time

from xenolith.cli import tables
from xenolith.cli.command import ANY_NUMBER, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "uptime"
SYNOPSIS = "[-s] [DOMAIN...]"
HELP = """\
Print how long domains have been running
-s                      The short form, as of uptime(1).
"""
SHORT = "s"
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Print one line for each domain."""
    options = parse_options(arguments, SHORT, LONG, ANY_NUMBER)
    with Toolstack.connect() as toolstack:
        wanted = [toolstack.resolve(word) for word in options.operands]
        domains = {domain.domid: domain for domain in toolstack.list()}
    now = time.time()
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    if "s" not in options:
        print(tables.UPTIME_HEADER)
    for domid in wanted or domains:
        if domid not in domains:
            continue
        if "s" in options:
            print(tables.short_uptime_row(domains[domid], now, clock))
        else:
            print(tables.uptime_row(domains[domid], now))
    return 0
