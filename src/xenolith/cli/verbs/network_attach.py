"""`xl network-attach`: another network interface for a running domain."""

from __future__ import annotations

from xenolith.cli.command import AT_LEAST_ONE, parse_options
from xenolith.toolstack.client import Toolstack

NAME = "network-attach"
SYNOPSIS = "DOMAIN [KEYWORD=VALUE...]"
HELP = """\
Attach a network interface to a domain
The keywords are those of a string in vif= of the configuration, such as bridge=lan, mac=...,
rate=..., type=user or forward=tcp:2222:22; several words are joined by commas.
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Attach the interface; return once its backend serves it."""
    options = parse_options(arguments, SHORT, LONG, AT_LEAST_ONE)
    domain, *words = options.operands
    with Toolstack.connect() as toolstack:
        toolstack.attach_nic(toolstack.resolve(domain), ",".join(words))
    return 0
