"""Hypercall numbers, domain ids, VIRQs and the page that hypervisor and guest share.

Mirrors public/xen.h as an HVM guest sees it: what only PV guests use is not here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.arch_x86_xen import (
    ARCH_SHARED_INFO,
    ARCH_VCPU_INFO,
    ArchSharedInfo,
    ArchVcpuInfo,
)
from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S8, U8, U32, U64, ULONG, Layout

HEADER = "xen.h"


@c_constants("__HYPERVISOR_")
class Hypercall(IntEnum):
    """Hypercall numbers."""

    set_trap_table = 0
    mmu_update = 1
    set_gdt = 2
    stack_switch = 3
    set_callbacks = 4
    fpu_taskswitch = 5
    sched_op_compat = 6
    platform_op = 7
    set_debugreg = 8
    get_debugreg = 9
    update_descriptor = 10
    memory_op = 12
    multicall = 13
    update_va_mapping = 14
    set_timer_op = 15
    event_channel_op_compat = 16
    xen_version = 17
    console_io = 18
    physdev_op_compat = 19
    grant_table_op = 20
    vm_assist = 21
    update_va_mapping_otherdomain = 22
    iret = 23
    vcpu_op = 24
    set_segment_base = 25
    mmuext_op = 26
    xsm_op = 27
    nmi_op = 28
    sched_op = 29
    callback_op = 30
    xenoprof_op = 31
    event_channel_op = 32
    physdev_op = 33
    hvm_op = 34
    sysctl = 35
    domctl = 36
    kexec_op = 37
    tmem_op = 38
    argo_op = 39
    xenpmu_op = 40
    dm_op = 41
    hypfs_op = 42


@c_constants("VIRQ_")
class Virq(IntEnum):
    """Virtual interrupts; TIMER, DEBUG, XENOPROF and XENPMU exist once per vCPU."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7
    CON_RING = 8
    PCPU_STATE = 9
    MEM_EVENT = 10
    ARGO = 11
    ENOMEM = 12
    XENPMU = 13
    ARCH_0 = 16
    ARCH_1 = 17
    ARCH_2 = 18
    ARCH_3 = 19
    ARCH_4 = 20
    ARCH_5 = 21
    ARCH_6 = 22
    ARCH_7 = 23


NR_VIRQS = 24

DOMID_FIRST_RESERVED = 0x7FF0
DOMID_SELF = 0x7FF0
DOMID_IO = 0x7FF1
DOMID_XEN = 0x7FF2
DOMID_COW = 0x7FF3
DOMID_INVALID = 0x7FF4
DOMID_IDLE = 0x7FFF
DOMID_MASK = 0x7FFF


@c_constants("CONSOLEIO_")
class ConsoleIoOp(IntEnum):
    """First argument of console_io."""

    write = 0
    read = 1


@c_constants("VMASST_CMD_")
class VmAssistCommand(IntEnum):
    """First argument of vm_assist."""

    enable = 0
    disable = 1


@c_constants("VMASST_TYPE_")
class VmAssistType(IntEnum):
    """Second argument of vm_assist."""

    _4gb_segments = 0
    _4gb_segments_notify = 1
    writable_pagetables = 2
    pae_extended_cr3 = 3
    architectural_iopl = 4
    runstate_update_flag = 5
    m2p_strict = 32


class MulticallEntry(NamedTuple):
    """One hypercall of a batch, and where its result goes."""

    op: ULONG
    result: ULONG
    args: Annotated[tuple[int, ...], "6Q", "6I"]


MULTICALL_ENTRY = Layout(MulticallEntry, "struct multicall_entry", HEADER)

XEN_PVCLOCK_TSC_STABLE_BIT = 1 << 0
XEN_PVCLOCK_GUEST_STOPPED = 1 << 1


class VcpuTimeInfo(NamedTuple):
    """How a vCPU turns its TSC into nanoseconds since boot.

    ``version`` is odd while the hypervisor changes the rest; the time is
    ``system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32)``.
    """

    version: U32
    pad0: U32
    tsc_timestamp: U64
    system_time: U64
    tsc_to_system_mul: U32
    tsc_shift: S8
    flags: U8


VCPU_TIME_INFO = Layout(VcpuTimeInfo, "struct vcpu_time_info", HEADER)


class VcpuInfo(NamedTuple):
    """A vCPU's event flags and clock, shared with the guest."""

    evtchn_upcall_pending: U8
    evtchn_upcall_mask: U8
    evtchn_pending_sel: ULONG
    arch: Annotated[ArchVcpuInfo, ARCH_VCPU_INFO]
    time: Annotated[VcpuTimeInfo, VCPU_TIME_INFO]


VCPU_INFO = Layout(VcpuInfo, "struct vcpu_info", HEADER)


class SharedInfo(NamedTuple):
    """The shared info page: ``vcpu_info`` holds XEN_LEGACY_MAX_VCPUS structs."""

    vcpu_info: Annotated[bytes, "2048s"]
    evtchn_pending: Annotated[tuple[int, ...], "64Q"]
    evtchn_mask: Annotated[tuple[int, ...], "64Q"]
    wc_version: U32
    wc_sec: U32
    wc_nsec: U32
    wc_sec_hi: U32
    arch: Annotated[ArchSharedInfo, ARCH_SHARED_INFO]


SHARED_INFO = Layout(SharedInfo, "struct shared_info", HEADER)
