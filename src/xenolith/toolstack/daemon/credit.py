"""Weights, caps and turns: what the credit scheduler would do between domains, as orders to their processes.

A cap a domain's process keeps alone. For weights it has to know the heavier domains with which it may share a
CPU (toolstack/weighted_share.py): between domains of one weight the host's scheduler is fair by itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from xenolith.toolstack import rpc
from xenolith.toolstack.daemon import affinity, domain_files
from xenolith.toolstack.daemon.cpupools import CpuPool, CreditParameters
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.domain_scheduling import Orders

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

MAX_WEIGHT = 65535

_MOST_RIVALS = 100
"""Descriptors that fit into a message; the heaviest count most."""
_TSLICE_MS = range(1, 1001)
_RATELIMIT_US = range(100, 500_001)
_MIGRATION_DELAY_US = range(100_001)
"""XEN_SYSCTL_CSCHED_TSLICE_MIN and so on, of public/sysctl.h."""


def set_domain(daemon: Daemon, domain: Domain, weight: int | None, cap: int | None) -> None:
    """Change a domain's weight or cap, None leaving it as it is; DaemonError, OSError."""
    config = domain.config
    if weight is not None and not 1 <= weight <= MAX_WEIGHT:
        raise DaemonError(
            f"The weight of domain {domain.domid} can be 1 to {MAX_WEIGHT}, not {weight}"
        )
    most = 100 * config.maxvcpus
    if cap is not None and not 0 <= cap <= most:
        raise DaemonError(
            f"The cap of domain {domain.domid} can be 0 (none) to {most} percent, not {cap}"
        )
    domain.change(
        cpu_weight=config.cpu_weight if weight is None else weight,
        cap=config.cap if cap is None else cap,
    )
    settle(daemon)


def checked(parameters: CreditParameters) -> CreditParameters:
    """Parameters of a pool; DaemonError where Xen does not allow them."""
    tslice, ratelimit, delay = parameters
    if tslice not in _TSLICE_MS:
        raise DaemonError(f"A time slice is {_TSLICE_MS[0]} to {_TSLICE_MS[-1]} ms, not {tslice}")
    if ratelimit and ratelimit not in _RATELIMIT_US:
        raise DaemonError(
            f"A rate limit is 0 (none) or {_RATELIMIT_US[0]} to {_RATELIMIT_US[-1]} us, "
            f"not {ratelimit}"
        )
    if ratelimit > tslice * 1000:
        raise DaemonError(f"A rate limit of {ratelimit} us is longer than the slice, {tslice} ms")
    if delay not in _MIGRATION_DELAY_US:
        raise DaemonError(f"A migration delay is 0 to {_MIGRATION_DELAY_US[-1]} us, not {delay}")
    return parameters


def settle(daemon: Daemon) -> None:
    """Give new orders to every domain for which something has changed."""
    lightest = min((domain.config.cpu_weight for domain in daemon.table), default=0)
    heavier = [
        (domain, affinity.effective(domain.config, daemon.cpupools.of(domain.config.pool)))
        for domain in daemon.table
        if domain.config.cpu_weight > lightest and _can_run(domain)
    ]
    heavier.sort(key=lambda pair: pair[0].config.cpu_weight, reverse=True)
    for domain in daemon.table:
        if domain.connection is not None and _can_run(domain):
            _tell(daemon, domain, heavier)


def _can_run(domain: Domain) -> bool:
    return domain.pid is not None and not (domain.process_ended or domain.dying)


def _tell(daemon: Daemon, domain: Domain, heavier: list[tuple[Domain, frozenset[int]]]) -> None:
    config = domain.config
    pool = daemon.cpupools.of(config.pool)
    rivals: list[Domain] = []
    if heavier:
        cpus = affinity.effective(config, pool)
        rivals = [
            other
            for other, others in heavier
            if other.config.cpu_weight > config.cpu_weight and cpus & others
        ][:_MOST_RIVALS]
    orders = _orders(domain, pool, rivals)
    if orders == domain.orders or domain.connection is None:
        return
    fds: list[int] = []
    try:
        for other in rivals:
            # Not the daemon's own descriptor, by which a process could write.
            path = domain_files.status_file(other.domid)
            fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        rpc.close_all(fds)
        domain.log(f"Its weight has no effect: {error}")
        return

    def followed(result: Any, _fds: list[int]) -> None:
        if isinstance(result, Exception):
            domain.log(f"Its scheduling parameters could not be set: {result}")

    domain.orders = orders
    domain.connection.call("schedule", orders._asdict(), followed, fds)


def _orders(domain: Domain, pool: CpuPool, rivals: list[Domain]) -> Orders:
    return Orders(
        weight=domain.config.cpu_weight,
        cap=domain.config.cap,
        slice_us=pool.parameters.tslice_ms * 1000,
        ratelimit_us=pool.parameters.ratelimit_us,
        rivals=tuple((other.pid or 0, other.config.cpu_weight) for other in rivals),
    )
