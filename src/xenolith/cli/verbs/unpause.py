"""`xl unpause`: let a paused domain run."""

from __future__ import annotations

from xenolith.cli import single_request
from xenolith.cli.command import ONE
from xenolith.toolstack.client import Toolstack

NAME = "unpause"
SYNOPSIS = "DOMAIN"
HELP = """\
Let a paused domain run
"""
SHORT = ""
LONG: dict[str, str] = {}


def run(arguments: list[str]) -> int:
    """Unpause the domain."""
    return single_request.of_domain(arguments, ONE, Toolstack.unpause)
