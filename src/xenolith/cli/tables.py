"""The tables that xl prints, to the character (tools/xl/xl_info.c, tools/xl/xl_vcpu.c).

Scripts take them apart by column, so none of these formats may change.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.toolstack.records import CpuPoolInfo, CreditInfo, DomainInfo, NicInfo, VcpuInfo

DOMAIN_HEADER = "Name                                        ID   Mem VCPUs\tState\tTime(s)"

VERBOSE_HEADER = "   UUID                            Reason-Code\tSecurity Label"
CONTEXT_HEADER = "   Security Label"
CPUPOOL_HEADER = "         Cpupool"
NUMA_HEADER = " NODE Affinity"

VCPU_HEADER = (
    f"{'Name':<32} {'ID':>5} {'VCPU':>5} {'CPU':>5} {'State':>5} {'Time(s)':>9} "
    "Affinity (Hard / Soft)"
)

UPTIME_HEADER = f"{'Name':<33} {'ID':>4} Uptime"

VM_HEADER = "UUID                                  ID    name"

REASON_LETTERS = "-rscwS"
"""Of a domain that is shut down, by reason: poweroff, reboot, suspend, crash, watchdog, reset."""

NO_LABEL = f" {'-':>16}"
"""The security label where XSM is not in use."""


def domain_state(domain: DomainInfo) -> str:
    """The six state letters of `xl list`."""
    flags = (
        (domain.running, "r"),
        (domain.blocked, "b"),
        (domain.paused, "p"),
        (domain.shutdown, "s"),
    )
    letters = "".join(letter if flag else "-" for flag, letter in flags)
    return f"{letters}{_reason_letter(domain)}{'d' if domain.dying else '-'}"


def _reason_letter(domain: DomainInfo) -> str:
    if not domain.shutdown:
        return "-"
    reason = domain.shutdown_reason
    if reason is None or not 0 <= reason < len(REASON_LETTERS):
        return "?"
    return REASON_LETTERS[reason]


def domain_row(domain: DomainInfo) -> str:
    """A row of `xl list`."""
    return (
        f"{domain.name:<40} {domain.domid:>5} {domain.memory_kib // 1024:>5} {domain.vcpus:>5}"
        f"     {domain_state(domain)}  {domain.cpu_time_ns / 1e9:>8.1f}"
    )


def verbose_columns(domain: DomainInfo) -> str:
    """What `xl list -v` adds to a row."""
    reason = domain.shutdown_reason
    code = "-" if not domain.shutdown or reason is None else f"{reason:x}"
    return f" {domain.uuid} {code:>8}{NO_LABEL}"


def cpupool_column(domain: DomainInfo) -> str:
    """What `xl list -c` adds to a row."""
    return f"{domain.cpupool:>16}"


def vcpu_row(name: str, vcpu: VcpuInfo) -> str:
    """A row of `xl vcpu-list`."""
    if vcpu.online:
        cpu = "-" if vcpu.cpu is None else vcpu.cpu
        state = f"{'r' if vcpu.running else '-'}{'b' if vcpu.blocked else '-'}-"
    else:
        cpu, state = "-", "--p"
    # The CPU column follows without a space, and the state is one character out of line: as in xl.
    return (
        f"{name:<32} {vcpu.domid:>5} {vcpu.vcpu:>5}{cpu:>5} {state:>5} "
        f"{vcpu.cpu_time_ns / 1e9:>9.1f}  {vcpu.hard_affinity} / {vcpu.soft_affinity}"
    )


CREDIT_HEADER = f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}"


def credit_row(domain: CreditInfo) -> str:
    """A row of `xl sched-credit`."""
    return f"{domain.name:<33} {domain.domid:>4} {domain.weight:>6} {domain.cap:>4}"


def credit_pool(pool: CpuPoolInfo) -> str:
    """The line of a pool in `xl sched-credit`."""
    return (
        f"Cpupool {pool.name}: tslice={pool.tslice_ms}ms ratelimit={pool.ratelimit_us}us "
        f"migration-delay={pool.migration_delay_us}us"
    )


CPUPOOL_LIST_HEADER = f"{'Name':<19}CPUs   Sched     Active   Domain count"
CPUPOOL_CPUS_HEADER = f"{'Name':<19}CPU list"


def cpupool_row(pool: CpuPoolInfo) -> str:
    """A row of `xl cpupool-list`."""
    return f"{pool.name:<19}{len(pool.cpus):>3} {pool.scheduler:>9}       y       {pool.domains:>4}"


def cpupool_cpus_row(pool: CpuPoolInfo) -> str:
    """A row of `xl cpupool-list -c`."""
    return f"{pool.name:<19}{','.join(map(str, pool.cpus))}"


NIC_HEADER = (
    "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       "
)


def nic_row(nic: NicInfo) -> str:
    """A row of `xl network-list`."""
    row = (
        f"{nic.devid:<3} {nic.backend_domid:<2} {nic.mac} {nic.devid:>6} {nic.state:>5} "
        f"{nic.event_channel:>6} {nic.tx_ring_ref:>5}/{nic.rx_ring_ref:<11} {nic.backend:<30}"
    )
    return f"{row} network lost: {nic.lost}" if nic.lost else row


def info_lines(info: Mapping[str, str]) -> list[str]:
    """The lines of `xl info`."""
    return [f"{key:<23}: {value}" for key, value in info.items()]


def info_values(info: Mapping[str, str], prefix: str) -> list[str]:
    """What `xl info KEY` prints: the values of the keys that start with ``prefix``."""
    return [value for key, value in info.items() if key.startswith(prefix)]


def uptime(seconds: int) -> str:
    """A span of time as `xl uptime` shows it."""
    minutes, second = divmod(seconds, 60)
    return f"{_short_uptime(minutes)}:{second:02}"


def _short_uptime(minutes: int) -> str:
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    prefix = f"{days} day{'s' if days > 1 else ''}, " if days else ""
    return f"{prefix}{hour:>2}:{minute:02}"


def uptime_row(domain: DomainInfo, now: float) -> str:
    """A row of `xl uptime`; ``now`` is in seconds since the epoch."""
    age = max(0, int(now - domain.start_time))
    return f"{domain.name:<33} {domain.domid:>4} {uptime(age)}"


def short_uptime_row(domain: DomainInfo, now: float, clock: str) -> str:
    """A row of `xl uptime -s`; ``clock`` is the time of day."""
    age = max(0, int(now - domain.start_time))
    return f" {clock} up {_short_uptime(age // 60)}, {domain.name} ({domain.domid})"


def vm_row(domain: DomainInfo) -> str:
    """A row of `xl vm-list`."""
    return f"{domain.uuid}  {domain.domid}    {domain.name:<30}"
