"""The x86-64 part of the interface that only PV guests use: traps, segments, the state of a new vCPU.

Mirrors public/arch-x86/xen.h (and arch-x86/xen-x86_64.h, which it includes).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U8, U16, U32, U64, Layout

HEADER = "arch-x86/xen.h"

FLAT_RING3_CS32 = 0xE023
FLAT_RING3_CS64 = 0xE033
FLAT_RING3_SS64 = 0xE02B


VGCF_i387_valid = 1 << 0
VGCF_in_kernel = 1 << 2
VGCF_failsafe_disables_events = 1 << 3
VGCF_syscall_disables_events = 1 << 4
VGCF_online = 1 << 5


@c_constants("SEGBASE_")
class SegmentBase(IntEnum):
    """First argument of set_segment_base."""

    FS = 0
    GS_USER = 1
    GS_KERNEL = 2
    GS_USER_SEL = 3


class TrapInfo(NamedTuple):
    """Where a vector enters the kernel; ``flags``: DPL in bits 0-1, bit 2 masks events."""

    vector: U8
    flags: U8
    cs: U16
    address: U64


TRAP_INFO = Layout(TrapInfo, "struct trap_info", HEADER)


class CpuUserRegs(NamedTuple):
    """The registers of a vCPU."""

    r15: U64
    r14: U64
    r13: U64
    r12: U64
    rbp: U64
    rbx: U64
    r11: U64
    r10: U64
    r9: U64
    r8: U64
    rax: U64
    rcx: U64
    rdx: U64
    rsi: U64
    rdi: U64
    error_code: U32
    entry_vector: U32
    rip: U64
    cs: U16
    pad0: U16
    saved_upcall_mask: U8
    rflags: U64
    rsp: U64
    ss: U16
    pad1: Annotated[bytes, "6s"]
    es: U16
    pad2: Annotated[bytes, "6s"]
    ds: U16
    pad3: Annotated[bytes, "6s"]
    fs: U16
    pad4: Annotated[bytes, "6s"]
    gs: U16
    pad5: Annotated[bytes, "6s"]


CPU_USER_REGS = Layout(CpuUserRegs, "struct cpu_user_regs", HEADER)


class VcpuGuestContext(NamedTuple):
    """The state that VCPUOP_initialise gives a vCPU; the user page table is in ``ctrlreg`` 1."""

    fpu_ctxt: Annotated[bytes, "512s"]
    flags: U64
    user_regs: Annotated[CpuUserRegs, CPU_USER_REGS]
    trap_ctxt: Annotated[bytes, "4096s"]
    ldt_base: U64
    ldt_ents: U64
    gdt_frames: Annotated[tuple[int, ...], "16Q"]
    gdt_ents: U64
    kernel_ss: U64
    kernel_sp: U64
    ctrlreg: Annotated[tuple[int, ...], "8Q"]
    debugreg: Annotated[tuple[int, ...], "8Q"]
    event_callback_eip: U64
    failsafe_callback_eip: U64
    syscall_callback_eip: U64
    vm_assist: U64
    fs_base: U64
    gs_base_kernel: U64
    gs_base_user: U64


VCPU_GUEST_CONTEXT = Layout(VcpuGuestContext, "struct vcpu_guest_context", HEADER)


class IretContext(NamedTuple):
    """What the iret hypercall finds at RSP."""

    rax: U64
    r11: U64
    rcx: U64
    flags: U64
    rip: U64
    cs: U64
    rflags: U64
    rsp: U64
    ss: U64


IRET_CONTEXT = Layout(IretContext, "struct iret_context", HEADER)
