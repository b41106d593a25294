"""What a domain costs whose guest has nothing to do: processor time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.contest import Contest, run
from bench.figure import Figure, Relation, Target
from bench.guest import Guest
from bench.process_usage import cpu_seconds, memory_beside_ram
from bench.sections.boot import debian, user_space

_SETTLE_S = 3.0
"""Within these seconds after its start, a guest ends what it does in the background."""


def measure(contest: Contest) -> Iterator[Figure]:
    """Debian at its shell's prompt."""
    spec = debian(contest.images, memory=512)
    watch_s = contest.effort.idle_s

    def cpu_percent(guest: Guest) -> float:
        user_space(guest)
        time.sleep(_SETTLE_S)
        pid = guest.pid
        before, began = cpu_seconds(pid), time.perf_counter()
        time.sleep(watch_s)
        return (cpu_seconds(pid) - before) / (time.perf_counter() - began) * 100

    def cpu_and_memory(guest: Guest) -> tuple[float, float]:
        cpu = cpu_percent(guest)
        return cpu, memory_beside_ram(guest.pid, guest.spec.memory_bytes) / (1 << 20)

    cpu, memory = run(contest.ours, spec, cpu_and_memory)
    peer = [] if contest.peer is None else [run(contest.peer, spec, cpu_percent)]
    yield Figure("idle guest, of one core", "%", [cpu], peer, Target(Relation.AT_MOST, 1))
    yield Figure("memory beside the RAM", "MiB", [memory], target=Target(Relation.AT_MOST, 40))
