"""The vcpu_op hypercall: bringing vCPUs up and down, their timers and shared areas.

Mirrors public/vcpu.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S32, U32, U64, Layout

HEADER = "vcpu.h"


@c_constants("VCPUOP_")
class VcpuOp(IntEnum):
    """First argument of vcpu_op."""

    initialise = 0
    up = 1
    down = 2
    is_up = 3
    get_runstate_info = 4
    register_runstate_memory_area = 5
    set_periodic_timer = 6
    stop_periodic_timer = 7
    set_singleshot_timer = 8
    stop_singleshot_timer = 9
    register_vcpu_info = 10
    send_nmi = 11
    get_physid = 12
    register_vcpu_time_memory_area = 13


@c_constants("RUNSTATE_")
class Runstate(IntEnum):
    """What a vCPU is doing, and the index of its time in that state."""

    running = 0
    runnable = 1
    blocked = 2
    offline = 3


XEN_RUNSTATE_UPDATE = 1 << 63
VCPU_SSHOTTMR_future = 1 << 0


class VcpuRunstateInfo(NamedTuple):
    """How long (ns) a vCPU has been in each of the four states."""

    state: S32
    state_entry_time: U64
    time: Annotated[tuple[int, ...], "4Q"]


VCPU_RUNSTATE_INFO = Layout(VcpuRunstateInfo, "struct vcpu_runstate_info", HEADER)


class VcpuRegisterRunstateMemoryArea(NamedTuple):
    """The guest-virtual address of a vCPU's VcpuRunstateInfo."""

    addr: U64


VCPU_REGISTER_RUNSTATE_MEMORY_AREA = Layout(
    VcpuRegisterRunstateMemoryArea, "struct vcpu_register_runstate_memory_area", HEADER
)


class VcpuSetPeriodicTimer(NamedTuple):
    """The period of a vCPU's VIRQ_TIMER."""

    period_ns: U64


VCPU_SET_PERIODIC_TIMER = Layout(VcpuSetPeriodicTimer, "struct vcpu_set_periodic_timer", HEADER)


class VcpuSetSingleshotTimer(NamedTuple):
    """The system time of a vCPU's next VIRQ_TIMER."""

    timeout_abs_ns: U64
    flags: U32


VCPU_SET_SINGLESHOT_TIMER = Layout(
    VcpuSetSingleshotTimer, "struct vcpu_set_singleshot_timer", HEADER
)


class VcpuRegisterVcpuInfo(NamedTuple):
    """The guest frame, and the offset in it, of a vCPU's vcpu_info."""

    mfn: U64
    offset: U32
    rsvd: U32


VCPU_REGISTER_VCPU_INFO = Layout(VcpuRegisterVcpuInfo, "struct vcpu_register_vcpu_info", HEADER)


class VcpuGetPhysid(NamedTuple):
    """APIC id (low half) and ACPI id (high half) of the physical CPU."""

    phys_id: U64


VCPU_GET_PHYSID = Layout(VcpuGetPhysid, "struct vcpu_get_physid", HEADER)


class VcpuRegisterTimeMemoryArea(NamedTuple):
    """The guest-virtual address of a second VcpuTimeInfo."""

    addr: U64


VCPU_REGISTER_TIME_MEMORY_AREA = Layout(
    VcpuRegisterTimeMemoryArea, "struct vcpu_register_time_memory_area", HEADER
)
