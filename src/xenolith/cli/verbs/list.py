"""`xl list`: the domains and their state."""

from __future__ import annotations

import json

from xenolith.cli import tables
from xenolith.cli.command import ANY_NUMBER, Options, parse_options
from xenolith.toolstack.client import Toolstack
from xenolith.toolstack.records import DomainInfo

NAME = "list"
SYNOPSIS = "[OPTIONS] [DOMAIN...]"
HELP = """\
List all domains or some of them
-l, --long              Print the whole configuration of each domain as JSON.
-v, --verbose           Add UUID, shutdown reason and security label.
-Z, --context           Add the security label.
-c, --cpupool           Add the CPU pool.
-n, --numa              Add the NUMA node affinity.
--json                  Print what the table shows as JSON.
"""
SHORT = "lvZcn"
LONG = {"long": "l", "verbose": "v", "context": "Z", "cpupool": "c", "numa": "n", "json": "j"}


def run(arguments: list[str]) -> int:
    """Print the table or the JSON that the options ask for."""
    options = parse_options(arguments, SHORT, LONG, ANY_NUMBER)
    with Toolstack.connect() as toolstack:
        domains = _domains(toolstack, options.operands)
        if "l" in options:
            configs = [_long(toolstack, domain) for domain in domains if domain.domid]
            print(json.dumps(configs, indent=4))
            return 0
    if "j" in options:
        print(json.dumps([domain._asdict() for domain in domains], indent=4))
        return 0
    print(_header(options))
    for domain in domains:
        print(_row(domain, options))
    return 0


def _domains(toolstack: Toolstack, wanted: list[str]) -> list[DomainInfo]:
    if not wanted:
        return toolstack.list()
    domids = [toolstack.resolve(word) for word in wanted]
    by_domid = {domain.domid: domain for domain in toolstack.list()}
    return [by_domid[domid] for domid in domids if domid in by_domid]


def _long(toolstack: Toolstack, domain: DomainInfo) -> dict[str, object]:
    from xenolith.toolstack.config import DomainConfig  # noqa: PLC0415 - slow; -l only
    from xenolith.toolstack.config.libxl_json import to_libxl  # noqa: PLC0415

    config = DomainConfig.from_dict(toolstack.config(domain.domid))
    return {"domid": domain.domid, "config": to_libxl(config)}


def _header(options: Options) -> str:
    header = tables.DOMAIN_HEADER
    if "v" in options:
        header += tables.VERBOSE_HEADER
    elif "Z" in options:
        header += tables.CONTEXT_HEADER
    if "c" in options:
        header += tables.CPUPOOL_HEADER
    if "n" in options:
        header += tables.NUMA_HEADER
    return header


def _row(domain: DomainInfo, options: Options) -> str:
    row = tables.domain_row(domain)
    if "v" in options:
        row += tables.verbose_columns(domain)
    elif "Z" in options:
        row += tables.NO_LABEL
    if "c" in options:
        row += tables.cpupool_column(domain)
    if "n" in options:
        row += " all"
    return row
