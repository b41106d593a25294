"""The host CPUs on which a domain's vCPUs may run: lists of CPUs in xl's notation, and what they do.

The vCPUs of a domain take turns on one thread, so that thread may run wherever one of them may.
The notation is that of xl.cfg(5) and of print_bitmap() in tools/xl/xl_utils.c.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re

from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError

_ITEM = re.compile(r"(\^?)(nodes?:)?(?:(all)|(\d{1,6})(?:-(\d{1,6}))?)")


def host_cpus() -> range:
    """The numbers of all CPUs of the host."""
    return range(os.cpu_count() or 1)


def parse(text: str) -> frozenset[int]:
    """The CPUs that a list such as ``0-3,^1``, ``node:0`` or ``all`` names; DaemonError."""
    cpus: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise DaemonError(f"'{item}' is not a CPU or a range of CPUs")
        without, nodes, everything, first, last = match.groups()
        if everything:
            named = set(host_cpus())
        else:
            numbers = range(int(first), int(last or first) + 1)
            named = _cpus_of_nodes(numbers) if nodes else set(numbers)
        if without:
            cpus -= named
        else:
            cpus |= named
    there = cpus & set(host_cpus())
    if not there:
        raise DaemonError(
            f"'{text}' names none of the host's CPUs, which are 0 to {host_cpus()[-1]}"
        )
    return frozenset(there)


def show(cpus: frozenset[int]) -> str:
    """A set of CPUs as `xl vcpu-list` shows it."""
    if cpus >= set(host_cpus()):
        return "all"
    parts = []
    for _, run in itertools.groupby(enumerate(sorted(cpus)), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        parts.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    return ",".join(parts)


def of_vcpu(lists: tuple[str, ...], vcpu: int) -> frozenset[int]:
    """The CPUs of one vCPU, by the lists of a configuration; DaemonError."""
    return parse(lists[vcpu] if vcpu < len(lists) else "all")


def check(config: DomainConfig) -> None:
    """DaemonError unless every list of a configuration names a CPU of this host."""
    for text in {*config.cpus, *config.cpus_soft}:
        parse(text)


def apply(domain: Domain) -> None:
    """Have a domain's process run where its vCPUs may; OSError."""
    config = domain.config
    cpus = frozenset().union(*(of_vcpu(config.cpus, vcpu) for vcpu in range(config.maxvcpus)))
    for thread in os.listdir(f"/proc/{domain.pid}/task"):
        os.sched_setaffinity(int(thread), cpus)


def pin(domain: Domain, vcpu: int | None, hard: str | None, soft: str | None) -> None:
    """Change the lists of one vCPU, or of all; None leaves them as they are. DaemonError, OSError."""
    config = domain.config
    if vcpu is not None and not 0 <= vcpu < config.maxvcpus:
        raise DaemonError(f"Domain {domain.domid} has no vCPU {vcpu}")
    for text in (hard, soft):
        if text is not None:
            parse(text)
    before = config
    domain.config = dataclasses.replace(
        config,
        cpus=_changed(config.cpus, config.maxvcpus, vcpu, hard),
        cpus_soft=_changed(config.cpus_soft, config.maxvcpus, vcpu, soft),
    )
    try:
        apply(domain)
        domain.save()
    except OSError:
        domain.config = before
        raise


def _changed(
    lists: tuple[str, ...], vcpus: int, vcpu: int | None, text: str | None
) -> tuple[str, ...]:
    if text is None:
        return lists
    full = (*lists, *["all"] * (vcpus - len(lists)))
    return tuple(text if vcpu in (None, number) else old for number, old in enumerate(full))


def _cpus_of_nodes(nodes: range) -> set[int]:
    """The CPUs of NUMA nodes (sysfs(5)); nodes that do not exist have none."""
    cpus: set[int] = set()
    for node in nodes:
        try:
            with open(f"/sys/devices/system/node/node{node}/cpulist", encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus
