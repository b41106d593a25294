"""The host CPUs on which a domain's vCPUs may run: lists of CPUs in xl's notation, and what they do.

The vCPUs of a domain take turns on one thread, so that thread may run wherever one of them may.
The notation is that of xl.cfg(5) and of print_bitmap() in tools/xl/xl_utils.c.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
from typing import TYPE_CHECKING

from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.cpupools import CpuPool

_NODES = "/sys/devices/system/node"

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
    for key, lists in (("cpus", config.cpus), ("cpus_soft", config.cpus_soft)):
        for text in set(lists):
            try:
                parse(text)
            except DaemonError as error:
                raise DaemonError(
                    f"Domain {config.name} cannot be created: key '{key}': {error}"
                ) from None


def effective(config: DomainConfig, pool: CpuPool) -> frozenset[int]:
    """Where a domain runs: wherever one of its vCPUs may, of the CPUs that its pool has."""
    return _within(config.cpus, config.maxvcpus, pool.cpus) or pool.cpus


def preferred(config: DomainConfig, pool: CpuPool) -> frozenset[int]:
    """Where it would rather run, of the CPUs where it may; all of those if it cannot."""
    may = effective(config, pool)
    return _within(config.cpus_soft, config.maxvcpus, may) or may


def apply(domain: Domain, pool: CpuPool) -> None:
    """Have a domain's process run where its vCPUs may, and at first where they would rather; OSError."""
    may, rather = effective(domain.config, pool), preferred(domain.config, pool)
    # A pool may have lost its last CPU, when the host did.
    if domain.pid is None or domain.process_ended or not may:
        return
    for thread in os.listdir(f"/proc/{domain.pid}/task"):
        # A thread may have ended since.
        with contextlib.suppress(ProcessLookupError):
            if rather != may:
                # Linux knows no preference, but leaves a thread where it is as long as that is good.
                os.sched_setaffinity(int(thread), rather)
            os.sched_setaffinity(int(thread), may)


def pin(
    domain: Domain, pool: CpuPool, vcpu: int | None, hard: str | None, soft: str | None
) -> None:
    """Change the lists of one vCPU, or of all; None leaves them as they are. DaemonError, OSError."""
    config = domain.config
    if vcpu is not None and not 0 <= vcpu < config.maxvcpus:
        raise DaemonError(f"Domain {domain.domid} has no vCPU {vcpu}")
    if soft is not None:
        parse(soft)
    if hard is not None and not parse(hard) & pool.cpus:
        raise DaemonError(
            f"Domain {domain.domid} is in CPU pool {pool.name}, which has none of the CPUs {hard}"
        )
    before = config
    domain.config = dataclasses.replace(
        config,
        cpus=_changed(config.cpus, config.maxvcpus, vcpu, hard),
        cpus_soft=_changed(config.cpus_soft, config.maxvcpus, vcpu, soft),
    )
    try:
        apply(domain, pool)
        domain.save()
    except OSError:
        domain.config = before
        raise


def _within(lists: tuple[str, ...], vcpus: int, cpus: frozenset[int]) -> frozenset[int]:
    """Those of ``cpus`` that one of the vCPUs' lists names."""
    if len(lists) < vcpus:
        return cpus
    return cpus.intersection(frozenset().union(*map(parse, set(lists))))


def _changed(
    lists: tuple[str, ...], vcpus: int, vcpu: int | None, text: str | None
) -> tuple[str, ...]:
    if text is None:
        return lists
    full = (*lists, *["all"] * (vcpus - len(lists)))
    return tuple(text if vcpu in (None, number) else old for number, old in enumerate(full))


def numa_nodes() -> dict[int, frozenset[int]]:
    """The CPUs of each NUMA node that has some (sysfs(5)); one node where the host shows none."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(_NODES):
            if name.startswith("node") and name[4:].isdigit():
                found[int(name[4:])] = frozenset(_cpus_of_node(int(name[4:])))
    return {node: cpus for node, cpus in found.items() if cpus} or {0: frozenset(host_cpus())}


def _cpus_of_nodes(nodes: range) -> set[int]:
    """The CPUs of NUMA nodes; nodes that do not exist have none."""
    cpus: set[int] = set()
    for node in nodes:
        with contextlib.suppress(OSError):
            cpus |= _cpus_of_node(node)
    return cpus


def _cpus_of_node(node: int) -> set[int]:
    cpus: set[int] = set()
    with open(f"{_NODES}/node{node}/cpulist", encoding="ascii") as file:
        for part in filter(None, file.read().strip().split(",")):
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus & set(host_cpus())
