"""The registers of a vCPU that VCPUOP_initialise brings into being (public/hvm/hvm_vcpu.h)."""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.hvm_vcpu import (
    VCPU_HVM_CONTEXT,
    VCPU_HVM_X86_32,
    VCPU_HVM_X86_64,
    VcpuHvmMode,
    VcpuHvmX86_32,
    VcpuHvmX86_64,
)
from xenolith.engine.hvm import CpuState, Segment
from xenolith.hypervisor.guest_access import GuestAccess, read_struct
from xenolith.machine.address import GuestVirt

_CR0_PE, _CR0_PG = 1 << 0, 1 << 31
_EFER_LME, _EFER_LMA = 1 << 8, 1 << 10
_GENERAL_32 = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")
_GENERAL_64 = ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi")
_CODE_64 = Segment(attributes=0xA9B)
_DATA_64 = Segment(attributes=0xC93)


def read_initial_context(access: GuestAccess, address: GuestVirt) -> CpuState:
    """Copy a struct vcpu_hvm_context in; XenError(EINVAL) for one that no CPU could have."""
    context = read_struct(access, VCPU_HVM_CONTEXT, address)
    match context.mode:
        case VcpuHvmMode._32B:
            return _protected_mode(VCPU_HVM_X86_32.unpack(context.cpu_regs))
        case VcpuHvmMode._64B:
            return _long_mode(VCPU_HVM_X86_64.unpack(context.cpu_regs))
    raise XenError(Errno.EINVAL, f"vCPU mode {context.mode}")


def _protected_mode(regs: VcpuHvmX86_32) -> CpuState:
    if regs.cr0 & _CR0_PG and not regs.cr0 & _CR0_PE:
        raise XenError(Errno.EINVAL, "paging without protection")
    if regs.efer & _EFER_LMA:
        raise XenError(Errno.EINVAL, "long mode in a 32-bit context")
    return CpuState(
        rip=regs.eip,
        rsp=regs.esp,
        rflags=regs.eflags | 2,
        cr0=regs.cr0,
        cr3=regs.cr3,
        cr4=regs.cr4,
        efer=regs.efer,
        cs=_segment(regs.cs_base, regs.cs_limit, regs.cs_ar),
        ds=_segment(regs.ds_base, regs.ds_limit, regs.ds_ar),
        es=_segment(regs.es_base, regs.es_limit, regs.es_ar),
        ss=_segment(regs.ss_base, regs.ss_limit, regs.ss_ar),
        tr=_segment(regs.tr_base, regs.tr_limit, regs.tr_ar),
        general={"r" + name[1:]: getattr(regs, name) for name in _GENERAL_32},
    )


def _long_mode(regs: VcpuHvmX86_64) -> CpuState:
    wanted = _EFER_LME | _EFER_LMA
    if not regs.cr0 & _CR0_PG or regs.efer & wanted != wanted:
        raise XenError(Errno.EINVAL, "a 64-bit context without long mode")
    return CpuState(
        rip=regs.rip,
        rsp=regs.rsp,
        rflags=regs.rflags | 2,
        cr0=regs.cr0,
        cr3=regs.cr3,
        cr4=regs.cr4,
        efer=regs.efer,
        cs=_CODE_64,
        ds=_DATA_64,
        es=_DATA_64,
        ss=_DATA_64,
        general={name: getattr(regs, name) for name in _GENERAL_64},
    )


def _segment(base: int, limit: int, access_rights: int) -> Segment:
    """``access_rights``: bits 0-7 of the attributes, then the four of bits 12-15 (or 8-11)."""
    return Segment(0, access_rights & 0xFFF, limit, base)
