"""`xl pause`: stop a domain's vCPUs."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import ONE
from xenolith.toolstack.client import Toolstack

NAME = "pause"
SYNOPSIS = "DOMAIN"
HELP = """\
Stop a domain's vCPUs; its memory and devices stay
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Pause the domain."""
    return single_request.of_domain(arguments, ONE, Toolstack.pause)
