"""What `xl info` says about the host, and Domain-0, which is the host, as a domain."""

from __future__ import annotations

import os
import platform
import re
import time

from xenolith import __version__
from xenolith.hypervisor import release
from xenolith.machine.run_dir import xenstored_socket
from xenolith.toolstack.daemon import host_cpuid
from xenolith.toolstack.daemon.domain_table import DOM0_NAME
from xenolith.toolstack.records import DomainInfo, VcpuInfo

_DOM0_UUID = "00000000-0000-0000-0000-000000000000"
_VIRT_CAPS = "pv pvh hap gnttab-v1 gnttab-v2"


def info() -> dict[str, str]:
    """The values of `xl info` by key, in the order of tools/xl/xl_info.c."""
    host = os.uname()
    cpus = os.cpu_count() or 1
    cpu = _first_cpu()
    memory = _memory_kib()
    cores = int(cpu.get("cpu cores", "1"))
    threads = max(1, int(cpu.get("siblings", "1")) // cores)
    return {
        "host": host.nodename,
        "release": host.release,
        "version": host.version,
        "machine": host.machine,
        "nr_cpus": str(cpus),
        "max_cpu_id": str(cpus - 1),
        "nr_nodes": str(_numa_nodes()),
        "cores_per_socket": str(cores),
        "threads_per_core": str(threads),
        "cpu_mhz": cpu.get("cpu MHz", "0.000"),
        "hw_caps": ":".join(f"{word:08x}" for word in host_cpuid.feature_words()),
        "virt_caps": _VIRT_CAPS,
        "total_memory": str(memory["MemTotal"] >> 10),
        "free_memory": str(memory["MemAvailable"] >> 10),
        "sharing_freed_memory": "0",
        "sharing_used_memory": "0",
        "outstanding_claims": "0",
        "free_cpus": "0",
        "xen_major": str(release.XEN_MAJOR),
        "xen_minor": str(release.XEN_MINOR),
        "xen_extra": release.XEN_EXTRA_VERSION,
        "xen_version": f"{release.XEN_MAJOR}.{release.XEN_MINOR}{release.XEN_EXTRA_VERSION}",
        "xen_caps": release.XEN_CAPABILITIES,
        "xen_scheduler": "credit",
        "xen_pagesize": str(os.sysconf("SC_PAGE_SIZE")),
        "platform_params": "virt_start=0xffff800000000000",
        "xen_changeset": f"xenolith {__version__}",
        "xen_commandline": "",
        "cc_compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "cc_compile_by": "",
        "cc_compile_domain": "",
        "cc_compile_date": "",
        "build_id": "",
        "xend_config_format": "4",
        "xenstored_socket": xenstored_socket(),
    }


def domain_0(cpupool: str) -> DomainInfo:
    """The host's line of `xl list`; it is in the first CPU pool."""
    memory = _memory_kib()["MemTotal"]
    cpus = os.cpu_count() or 1
    return DomainInfo(
        domid=0,
        name=DOM0_NAME,
        uuid=_DOM0_UUID,
        memory_kib=memory,
        max_memory_kib=memory,
        vcpus=cpus,
        max_vcpus=cpus,
        running=True,
        blocked=False,
        paused=False,
        shutdown=False,
        crashed=False,
        dying=False,
        shutdown_reason=None,
        cpu_time_ns=_busy_times_ns()[0],
        cpupool=cpupool,
        start_time=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
    )


def domain_0_vcpus() -> list[VcpuInfo]:
    """The host's lines of `xl vcpu-list`."""
    return [
        VcpuInfo(
            domid=0,
            vcpu=number,
            cpu=number,
            online=True,
            running=True,
            blocked=False,
            cpu_time_ns=busy,
            hard_affinity="all",
            soft_affinity="all",
        )
        for number, busy in enumerate(_busy_times_ns()[1:])
    ]


def _busy_times_ns() -> list[int]:
    """How long all CPUs together, then each of them, have worked, in ns (proc(5), /proc/stat)."""
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    times = []
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            if not line.startswith("cpu"):
                break
            user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
            times.append((user + nice + system + irq + softirq) * tick)
    return times


def _memory_kib() -> dict[str, int]:
    """/proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return {name: int(kib) for name, kib in re.findall(r"(\w+):\s+(\d+) kB", file.read())}


def _first_cpu() -> dict[str, str]:
    """The first CPU's part of /proc/cpuinfo."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        first = file.read().split("\n\n")[0]
    return dict(re.findall(r"(.*?)\s*: (.*)", first))


def _numa_nodes() -> int:
    try:
        names = os.listdir("/sys/devices/system/node")
    except OSError:
        return 1
    return max(1, sum(re.fullmatch(r"node\d+", name) is not None for name in names))
