"""CPU pools: disjoint sets of the host's CPUs, each of which serves the domains that are in it.

As in Xen (xen/common/sched/cpupool.c) there is always pool 0, which Domain-0 is in, and a CPU that leaves a pool
is free until another takes it. The pools are kept in a file of the run directory, so they outlive the daemon.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from xenolith.hypervisor.run_queue import SLICE_NS, WAKE_SLICE_NS
from xenolith.toolstack.daemon import affinity
from xenolith.toolstack.daemon.errors import DaemonError

FIRST_NAME = "Pool-0"

_MAX_NAME_BYTES = 200


class CreditParameters(NamedTuple):
    """How the credit scheduler of a pool works (`xl sched-credit -s`)."""

    tslice_ms: int = SLICE_NS // 1_000_000
    """How long a vCPU's turn lasts among those of its domain."""
    ratelimit_us: int = WAKE_SLICE_NS // 1000
    """How long one may go on when another is woken."""
    migration_delay_us: int = 0
    """Kept and shown: where a domain runs, the host's scheduler decides."""


class CpuPool(NamedTuple):
    """One pool."""

    poolid: int
    name: str
    uuid: str
    cpus: frozenset[int]
    parameters: CreditParameters = CreditParameters()


class CpuPools:
    """All pools of a daemon, in a file. A change that raises DaemonError or OSError changes nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pools = {pool.poolid: pool for pool in _load(path)}
        if 0 not in self._pools:
            # The same for the next daemon, though nothing is written before a pool changes.
            own = str(uuid.uuid5(uuid.NAMESPACE_URL, f"file://{path}"))
            first = CpuPool(0, FIRST_NAME, own, frozenset(affinity.host_cpus()))
            self._pools = {0: first}

    def __iter__(self) -> Iterator[CpuPool]:
        return iter(sorted(self._pools.values()))

    @property
    def first(self) -> CpuPool:
        """Pool 0, which Domain-0 is in."""
        return self._pools[0]

    @property
    def free_cpus(self) -> frozenset[int]:
        """The CPUs that are in no pool."""
        return frozenset(affinity.host_cpus()).difference(*(pool.cpus for pool in self))

    def find(self, wanted: str) -> CpuPool:
        """A pool by its name or number; DaemonError."""
        for pool in self:
            if wanted in (str(pool.poolid), pool.name):
                return pool
        raise DaemonError(f"There is no CPU pool {wanted}")

    def of(self, name: str) -> CpuPool:
        """The pool that a domain is in by its configuration; pool 0 where that one is lost."""
        return next((pool for pool in self if pool.name == name), self.first)

    def check_new(self, name: str, cpus: Iterable[int]) -> None:
        """DaemonError unless a pool can be made of this name and these CPUs."""
        self._check_name(name)
        self._check_free(cpus)

    def create(self, name: str, cpus: Iterable[int]) -> CpuPool:
        """Make a pool of free CPUs."""
        chosen = frozenset(cpus)
        self.check_new(name, chosen)
        poolid = next(number for number in range(1 << 16) if number not in self._pools)
        pool = CpuPool(poolid, name, str(uuid.uuid4()), chosen)
        self._replace([*self, pool])
        return pool

    def destroy(self, pool: CpuPool) -> None:
        """Make the CPUs of a pool free, in which no domain is."""
        if pool.poolid == 0:
            raise DaemonError(f"CPU pool {pool.name} is that of Domain-0, and stays")
        self._replace(other for other in self if other != pool)

    def rename(self, pool: CpuPool, name: str) -> CpuPool:
        """Give a pool another name."""
        if name != pool.name:
            self._check_name(name)
        return self._change(pool, name=name)

    def add_cpus(self, pool: CpuPool, cpus: frozenset[int]) -> CpuPool:
        """Put free CPUs into a pool; those that it has already stay."""
        self._check_free(cpus - pool.cpus)
        return self._change(pool, cpus=pool.cpus | cpus)

    def remove_cpus(self, pool: CpuPool, cpus: frozenset[int]) -> CpuPool:
        """Make CPUs of a pool free."""
        foreign = cpus - pool.cpus
        if foreign:
            raise DaemonError(f"CPU pool {pool.name} does not have CPU {min(foreign)}")
        if pool.poolid == 0 and cpus == pool.cpus:
            raise DaemonError(f"CPU pool {pool.name} needs a CPU for Domain-0")
        return self._change(pool, cpus=pool.cpus - cpus)

    def set_parameters(self, pool: CpuPool, parameters: CreditParameters) -> CpuPool:
        """Change how a pool's scheduler works, which has been checked."""
        return self._change(pool, parameters=parameters)

    def split(self, nodes: dict[int, frozenset[int]]) -> None:
        """Make a pool of each NUMA node, given by its CPUs, the first of them of pool 0."""
        if len(self._pools) > 1:
            raise DaemonError("The host is split already: there are several CPU pools")
        pools = [
            CpuPool(poolid, f"Pool-node{node}", str(uuid.uuid4()), cpus, self.first.parameters)
            for poolid, (node, cpus) in enumerate(sorted(nodes.items()))
        ]
        self._replace(pools)

    def _check_name(self, name: str) -> None:
        if (
            not name.isprintable()
            or " " in name
            or not 0 < len(name.encode(errors="replace")) <= _MAX_NAME_BYTES
            or name.isdigit()
        ):
            raise DaemonError(f"{name!r} cannot be the name of a CPU pool")
        if any(pool.name == name for pool in self):
            raise DaemonError(f"CPU pool {name} exists already")

    def _check_free(self, cpus: Iterable[int]) -> None:
        for cpu in sorted(cpus):
            if cpu not in affinity.host_cpus():
                raise DaemonError(f"The host has no CPU {cpu}")
            for pool in self:
                if cpu in pool.cpus:
                    raise DaemonError(
                        f"CPU {cpu} is not free: it is in CPU pool {pool.name} "
                        f"(xl cpupool-cpu-remove {pool.name} {cpu})"
                    )

    def _change(self, pool: CpuPool, **members: Any) -> CpuPool:
        changed = pool._replace(**members)
        self._replace(changed if other == pool else other for other in self)
        return changed

    def _replace(self, pools: Iterable[CpuPool]) -> None:
        new = {pool.poolid: pool for pool in pools}
        rows = [pool._asdict() | {"cpus": sorted(pool.cpus)} for pool in new.values()]
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump(rows, file)
        os.replace(f"{self._path}.new", self._path)
        self._pools = new


def _load(path: str) -> list[CpuPool]:
    """The pools of an earlier daemon; none where they make no sense on this host."""
    try:
        with open(path, encoding="utf-8") as file:
            pools = [_pool_of(row) for row in json.load(file)]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    there = frozenset(affinity.host_cpus())
    pools = [pool._replace(cpus=pool.cpus & there) for pool in pools]
    return pools if all(pool.cpus for pool in pools if pool.poolid == 0) else []


def _pool_of(row: dict[str, Any]) -> CpuPool:
    """A pool as it is in the file; ValueError, TypeError, KeyError."""
    poolid, name, ident, cpus, parameters = (row[field] for field in CpuPool._fields)
    numbers = [poolid, *cpus, *parameters]
    texts = [name, ident]
    if any(type(each) is not int for each in numbers) or any(
        type(each) is not str for each in texts
    ):
        raise ValueError(f"{row} is no CPU pool")
    return CpuPool(poolid, name, ident, frozenset(cpus), CreditParameters(*parameters))
