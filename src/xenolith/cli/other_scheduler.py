"""What the verbs of Xen's other schedulers have in common: none of those is in use, in any pool."""

from __future__ import annotations

from xenolith.cli.command import CommandError, Options
from xenolith.toolstack.client import Toolstack


def refuse_unless_listing(scheduler: str, options: Options, of_pools: str) -> int:
    """Return 0 for a list, which has no pool in it; CommandError for what is asked of a pool or a domain.

    ``of_pools`` are the letters of the options that narrow a list; -s asks for a pool's parameters.
    """
    with Toolstack.connect() as toolstack:
        if "d" in options:
            toolstack.resolve(options.given["d"])
        elif options.given.keys() <= set(of_pools) - {"s"}:
            for letter in options.given:
                toolstack.cpus.cpupool(options.given[letter])
            return 0
    raise CommandError(f"The scheduler {scheduler} is not in use: all pools have credit")
