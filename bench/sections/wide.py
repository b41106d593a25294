"""Domains with as many vCPUs as Xen gives a PVH guest of Linux: whether all come up, in what time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.contest import Contest, run
from bench.figure import Figure
from bench.guest import Guest
from bench.process_usage import memory_beside_ram
from bench.sections.boot import debian

_VCPUS = 128
_DEADLINE_S = 900.0


def measure(contest: Contest) -> Iterator[Figure]:
    """Seconds until the init has said how many processors there are, and MiB beside the guest's RAM."""
    if contest.effort.domains == 0:
        return

    def time_and_memory(guest: Guest) -> tuple[float, float]:
        up = guest.wait_for(b", CPUs: %d," % _VCPUS, _DEADLINE_S)
        return up, memory_beside_ram(guest.pid, guest.spec.memory_bytes) / (1 << 20)

    for kind in ("pv", "pvh"):
        spec = replace(debian(contest.images, memory=1024), type=kind, vcpus=_VCPUS)
        seconds, mebibytes = run(contest.ours, spec, time_and_memory)
        yield Figure(f"{kind.upper()}, {_VCPUS} vCPUs: all up", "s", [seconds])
        yield Figure("  memory beside the RAM", "MiB", [mebibytes])
