"""What the daemon tells of domains and their devices: rows that cross its socket as JSON arrays."""

from __future__ import annotations

from typing import NamedTuple


class DomainInfo(NamedTuple):
    """One domain as `xl list` shows it; the flags are those of xen_domctl_getdomaininfo."""

    domid: int
    name: str
    uuid: str
    memory_kib: int
    max_memory_kib: int
    vcpus: int
    max_vcpus: int
    running: bool
    blocked: bool
    paused: bool
    shutdown: bool
    crashed: bool
    dying: bool
    shutdown_reason: int | None
    cpu_time_ns: int
    cpupool: str
    start_time: float
    """Seconds since the epoch at which this domid started."""


class VcpuInfo(NamedTuple):
    """One virtual CPU as `xl vcpu-list` shows it."""

    domid: int
    vcpu: int
    cpu: int | None
    """The host CPU it last ran on; None where that is not known."""
    online: bool
    running: bool
    blocked: bool
    cpu_time_ns: int
    hard_affinity: str
    soft_affinity: str


class NicInfo(NamedTuple):
    """One network interface as `xl network-list` shows it; counters are the guest's, by direction."""

    devid: int
    backend_domid: int
    mac: str
    state: int
    event_channel: int
    tx_ring_ref: int
    rx_ring_ref: int
    backend: str
    lost: str
    """Why its network has gone; empty where it has not."""
    rx_packets: int
    rx_bytes: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int


class DomainEnd(NamedTuple):
    """How a domain ended."""

    domid: int
    reason: int | None
    """The shutdown reason (abi.sched.ShutdownReason); None if it was destroyed while it ran."""
    successor: int | None
    """The domid under which the domain was restarted, if it was."""
    preserved: bool
    """Whether the domain is still there, shut down, for somebody to look at."""


class DeviceInfo(NamedTuple):
    """One device as `xl block-list` and `xl network-list` show it; -1 is what the guest has not said."""

    devid: int
    backend_domid: int
    frontend_domid: int
    state: int
    """The frontend's (abi.xenbus.XenbusState)."""
    event_channel: int
    ring_ref: int
    backend: str
    """The backend's path in xenstore."""


class CreditInfo(NamedTuple):
    """One domain as `xl sched-credit` shows it."""

    domid: int
    name: str
    weight: int
    cap: int
    """In percent of one CPU; 0 is none."""
    cpupool: str


class CpuPoolInfo(NamedTuple):
    """One CPU pool as `xl cpupool-list` and `xl sched-credit -s` show it."""

    poolid: int
    name: str
    scheduler: str
    cpus: list[int]
    domains: int
    tslice_ms: int
    ratelimit_us: int
    migration_delay_us: int
