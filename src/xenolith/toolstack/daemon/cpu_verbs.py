"""What the daemon does about vCPUs, host CPUs and CPU pools for its clients: methods of client.Toolstack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.toolstack.config.cpupool import SCHEDULER, CpuPoolConfig, load_cpupool
from xenolith.toolstack.config.errors import ConfigError
from xenolith.toolstack.config_source import ConfigSource
from xenolith.toolstack.daemon import affinity, credit, xenstore_layout
from xenolith.toolstack.daemon.cpupools import CpuPool, CreditParameters
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.domain_table import DOM0_NAME
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.guest_verbs import check_live
from xenolith.toolstack.daemon.parameters import (
    content,
    number,
    number_or_none,
    text,
    text_or_none,
    texts,
)
from xenolith.toolstack.records import CpuPoolInfo, CreditInfo
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

_DOM0_WEIGHT = 256


def _pin_vcpu(daemon: Daemon, domain: Domain, request: Request) -> None:
    pool = daemon.cpupools.of(domain.config.pool)
    hard, soft = text_or_none(request, "hard"), text_or_none(request, "soft")
    affinity.pin(domain, pool, number_or_none(request, "vcpu"), hard, soft)
    credit.settle(daemon)
    request.reply()


def _set_vcpus(daemon: Daemon, domain: Domain, request: Request) -> None:
    check_live(domain)
    count, most = number(request, "count"), domain.config.maxvcpus
    if not 1 <= count <= most:
        raise DaemonError(
            f"Domain {domain.domid} has {most} vCPUs (maxvcpus), so 1 to {most} can be online"
        )
    domain.change(vcpus=count)
    xenstore_layout.set_vcpus(daemon.store, domain.domid, domain.config)
    request.reply()


def _set_credit(daemon: Daemon, domain: Domain, request: Request) -> None:
    weight, cap = number_or_none(request, "weight"), number_or_none(request, "cap")
    credit.set_domain(daemon, domain, weight, cap)
    request.reply()


def _migrate_to_cpupool(daemon: Daemon, domain: Domain, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    if not pool.cpus:
        raise DaemonError(f"CPU pool {pool.name} has no CPU for domain {domain.domid}")
    domain.change(pool=pool.name)
    affinity.apply(domain, pool)
    credit.settle(daemon)
    request.reply()


def _credits(daemon: Daemon, request: Request) -> None:
    host = CreditInfo(0, DOM0_NAME, _DOM0_WEIGHT, 0, daemon.cpupools.first.name)
    configs = [(domain.domid, domain.config) for domain in daemon.table]
    domains = [
        CreditInfo(domid, config.name, config.cpu_weight, config.cap, config.pool)
        for domid, config in configs
    ]
    request.reply([host, *domains])


def _cpupools(daemon: Daemon, request: Request) -> None:
    request.reply([_info(daemon, pool) for pool in daemon.cpupools])


def _cpupool(daemon: Daemon, request: Request) -> None:
    request.reply(_info(daemon, daemon.cpupools.find(text(request, "pool"))))


def _load_cpupool(daemon: Daemon, request: Request) -> None:
    name, cpus = _described(daemon, request)
    daemon.cpupools.check_new(name, cpus)
    request.reply(_info(daemon, CpuPool(-1, name, "", cpus)))


def _create_cpupool(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.create(*_described(daemon, request))
    _publish(daemon)
    request.reply(_info(daemon, pool))


def _destroy_cpupool(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    inside = [domain.name for domain in _inside(daemon, pool)]
    if inside:
        raise DaemonError(f"CPU pool {pool.name} is in use by {', '.join(inside)}")
    daemon.cpupools.destroy(pool)
    _publish(daemon)
    request.reply()


def _rename_cpupool(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    inside = _inside(daemon, pool)
    name = daemon.cpupools.rename(pool, text(request, "name")).name
    for domain in inside:
        domain.change(pool=name)
    _publish(daemon)
    request.reply()


def _add_cpus_to_cpupool(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    _place(daemon, daemon.cpupools.add_cpus(pool, affinity.parse(text(request, "cpus"))))
    request.reply()


def _remove_cpus_from_cpupool(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    cpus = affinity.parse(text(request, "cpus"))
    inside = [domain.name for domain in _inside(daemon, pool)]
    if inside and cpus >= pool.cpus:
        raise DaemonError(f"CPU pool {pool.name} needs a CPU for {', '.join(inside)}")
    _place(daemon, daemon.cpupools.remove_cpus(pool, cpus))
    request.reply()


def _set_cpupool_parameters(daemon: Daemon, request: Request) -> None:
    pool = daemon.cpupools.find(text(request, "pool"))
    asked = (number_or_none(request, key) for key in ("tslice", "ratelimit", "migration_delay"))
    parameters = CreditParameters(
        *(old if new is None else new for old, new in zip(pool.parameters, asked, strict=True))
    )
    daemon.cpupools.set_parameters(pool, credit.checked(parameters))
    credit.settle(daemon)
    request.reply()


def _split_cpupools_by_node(daemon: Daemon, request: Request) -> None:
    inside = list(daemon.table)
    daemon.cpupools.split(affinity.numa_nodes())
    first = daemon.cpupools.first
    for domain in inside:
        domain.change(pool=first.name)
    _place(daemon, first)
    _publish(daemon)
    request.reply()


def _inside(daemon: Daemon, pool: CpuPool) -> list[Domain]:
    return [domain for domain in daemon.table if daemon.cpupools.of(domain.config.pool) == pool]


def _place(daemon: Daemon, pool: CpuPool) -> None:
    """Have the domains of a pool run on the CPUs that it has now."""
    for domain in _inside(daemon, pool):
        affinity.apply(domain, pool)
    credit.settle(daemon)


def _publish(daemon: Daemon) -> None:
    xenstore_layout.publish_cpupools(daemon.store, daemon.cpupools)


def _described(daemon: Daemon, request: Request) -> tuple[str, frozenset[int]]:
    """Name and CPUs of the pool that a configuration describes; DaemonError."""
    source = ConfigSource(
        content(request, "text"),
        content(request, "name"),
        texts(request, "overrides"),
        texts(request, "directories"),
    )
    try:
        config = load_cpupool(source)
    except ConfigError as error:
        raise DaemonError(str(error)) from None
    return config.name, _cpus_of(daemon, config)


def _cpus_of(daemon: Daemon, config: CpuPoolConfig) -> frozenset[int]:
    if config.nodes:
        nodes = affinity.numa_nodes()
        of_nodes = frozenset().union(*(nodes.get(node, frozenset()) for node in config.nodes))
        if not of_nodes & daemon.cpupools.free_cpus:
            raise DaemonError("None of the CPUs of these nodes is free")
        return of_nodes & daemon.cpupools.free_cpus
    return affinity.parse(config.cpu_list) if config.cpu_list else frozenset(config.cpus)


def _info(daemon: Daemon, pool: CpuPool) -> CpuPoolInfo:
    domains = len(_inside(daemon, pool)) + (pool.poolid == 0)
    return CpuPoolInfo(
        pool.poolid, pool.name, SCHEDULER, sorted(pool.cpus), domains, *pool.parameters
    )


CPU_VERBS: dict[str, Callable[[Daemon, Request], None]] = {
    "credits": _credits,
    "cpupools": _cpupools,
    "cpupool": _cpupool,
    "load_cpupool": _load_cpupool,
    "create_cpupool": _create_cpupool,
    "destroy_cpupool": _destroy_cpupool,
    "rename_cpupool": _rename_cpupool,
    "add_cpus_to_cpupool": _add_cpus_to_cpupool,
    "remove_cpus_from_cpupool": _remove_cpus_from_cpupool,
    "set_cpupool_parameters": _set_cpupool_parameters,
    "split_cpupools_by_node": _split_cpupools_by_node,
}

CPUS_OF_A_DOMAIN: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    "pin_vcpu": _pin_vcpu,
    "set_vcpus": _set_vcpus,
    "set_credit": _set_credit,
    "migrate_to_cpupool": _migrate_to_cpupool,
}
