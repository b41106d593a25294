"""How long a domain takes from its creation to its user space."""

from __future__ import annotations

from collections.abc import Iterator

from bench.contest import Contest
from bench.figure import Figure, Judged, Relation, Target
from bench.guest import Guest, GuestSpec
from bench.images import Images
from bench.process_usage import cpu_seconds

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
    ours, peer = contest.alternate(spec, _wall_and_processor_time)
    target = Target(Relation.AT_MOST, 1.0, Judged.RATIO)
    ours_wall, peer_wall = [wall for wall, _ in ours], [wall for wall, _ in peer]
    yield Figure("boot to user space, 512 MiB", "s", ours_wall, peer_wall, target)
    # What a busy machine disturbs less.
    ours_cpu, peer_cpu = [cpu for _, cpu in ours], [cpu for _, cpu in peer]
    yield Figure("  processor time for that", "s", ours_cpu, peer_cpu)


def _wall_and_processor_time(guest: Guest) -> tuple[float, float]:
    """Seconds until user space, and processor time of the guest's process until then."""
    return user_space(guest), cpu_seconds(guest.pid)
