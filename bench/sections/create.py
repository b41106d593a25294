"""How long it takes to create a domain: from the start of `xl create` to the guest's first instruction.

The guests' first instructions write a character to the debug port, which the console's log shows.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.contest import Contest
from bench.figure import Figure, Relation, Target
from bench.guest import Guest, GuestSpec

_TARGET = Target(Relation.AT_MOST, 100)


def _first_instruction(guest: Guest) -> float:
    return guest.wait_for(b"!") * 1e3


def measure(contest: Contest) -> Iterator[Figure]:
    """A guest of a few bytes; then Debian's kernel and ramdisk, which are to be loaded first."""
    images = contest.images
    specs = {
        "first instruction, tiny guest": GuestSpec(images.first_instruction),
        "first instruction, Debian": GuestSpec(
            images.kernel_that_says_so, images.ramdisk, memory=512
        ),
    }
    for name, spec in specs.items():
        contest.warm_up(spec, _first_instruction)
        ours, peer = contest.alternate(spec, _first_instruction)
        yield Figure(name, "ms", ours, peer, _TARGET)
