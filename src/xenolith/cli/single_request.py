"""What the verbs without options that make one request of the daemon have in common.

Such a verb says how many operands it takes and which request they are of; it prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.cli.command import parse_options
from xenolith.toolstack.client import Toolstack

Request = Callable[..., None]
"""Called with whom it is made of, then with the operands."""


def of_daemon(arguments: list[str], operands: range, request: Request) -> int:
    """Make the request ``request(toolstack, *operands)``; return the exit status."""
    words = parse_options(arguments, "", {}, operands).operands
    with Toolstack.connect() as toolstack:
        request(toolstack, *words)
    return 0


def of_domain(arguments: list[str], operands: range, request: Request) -> int:
    """The same with a domain as the first operand: ``request(toolstack, domid, *others)``."""

    def resolved(toolstack: Toolstack, domain: str, *others: str) -> None:
        request(toolstack, toolstack.resolve(domain), *others)

    return of_daemon(arguments, operands, resolved)


def of_cpupools(arguments: list[str], operands: range, request: Request) -> int:
    """The same of what the daemon knows of CPU pools: ``request(toolstack.cpus, *operands)``."""
    return of_daemon(arguments, operands, lambda toolstack, *words: request(toolstack.cpus, *words))
