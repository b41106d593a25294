"""What the verbs of Xen's other schedulers have in common: none of those is in use, in any pool.

As with xl, a list is empty then, and all that is asked of a pool or a domain fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.cli.command import NONE, CommandError, parse_options
from xenolith.toolstack.client import Toolstack


def refuse_unless_listing(
    scheduler: str, arguments: list[str], short: str, long: Mapping[str, str], *, narrowing: str
) -> int:
    """Return 0 for a list; CommandError for anything else.

    ``short`` and ``long`` are the verb's SHORT and LONG, ``narrowing`` is the letter of the
    option that narrows a list to one pool.
    """
    given = parse_options(arguments, short, long, NONE).given
    with Toolstack.connect() as toolstack:
        if "d" in given:
            toolstack.resolve(given["d"])
        elif given.keys() <= {narrowing}:
            for pool in given.values():
                toolstack.cpus.cpupool(pool)
            return 0
    raise CommandError(f"The scheduler {scheduler} is not in use: all pools have credit")
