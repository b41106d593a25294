"""How long a domain takes from its creation to its user space."""

from __future__ import annotations

from collections.abc import Iterator

from bench.contest import Contest
from bench.figure import Figure, Judged, Relation, Target
from bench.guest import Guest, GuestSpec
from bench.images import Images

MARKER = b"XENOLITH: user space is up"


def debian(images: Images, memory: int) -> GuestSpec:
    """The example domain with one vCPU; the memory is in MiB. A panic of the guest ends it."""
    return GuestSpec(images.kernel, images.ramdisk, "mitigations=off panic=-1", memory)


def user_space(guest: Guest) -> float:
    """Seconds from the start of a guest to its user space."""
    return guest.wait_for(MARKER)


def measure(contest: Contest) -> Iterator[Figure]:
    """From the start of `xl create`, and of QEMU, to the init's first words on the console."""
    spec = debian(contest.images, memory=512)
    contest.warm_up(spec, user_space)
    ours, peer = contest.alternate(spec, user_space)
    target = Target(Relation.AT_MOST, 1.0, Judged.RATIO)
    yield Figure("boot to user space, 512 MiB", "s", ours, peer, target)
