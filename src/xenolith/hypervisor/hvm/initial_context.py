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
_CR4_PAE = 1 << 5
_CR4_VALID = 0x31_0FFF
"""VME to UMIP, FSGSBASE, SMEP, SMAP; what CPUID hides must stay off."""
_EFER_LME, _EFER_LMA = 1 << 8, 1 << 10
_EFER_VALID = 0xD01
_RFLAGS_VALID = 0x3F_7FD5
_RFLAGS_ALWAYS = 2
_GENERAL_32 = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")
_GENERAL_64 = ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi")
_CODE_64 = Segment(attributes=0xA9B)
_DATA_64 = Segment(attributes=0xC93)

_ACCESSED, _BUSY = 1 << 0, 1 << 1
_PRESENT, _GRANULAR = 1 << 7, 1 << 11
_WRITABLE_DATA, _DATA, _CODE, _READABLE_CODE = (
    (0x1A, 0x12),
    (0x18, 0x10),
    (0x18, 0x18),
    (0x1A, 0x1A),
)
_TYPES = {
    "CS": (_CODE,),
    "SS": (_WRITABLE_DATA,),
    "DS": (_DATA, _READABLE_CODE),
    "ES": (_DATA, _READABLE_CODE),
    "TR": ((0x1F, 0x0B),),
}
"""The types that a segment may have: a mask of the access rights, and what must remain."""


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
    if regs.efer & _EFER_LMA and not regs.efer & _EFER_LME:
        raise XenError(Errno.EINVAL, "long mode is active but not enabled")
    code = _segment("CS", regs.cs_base, regs.cs_limit, regs.cs_ar)
    if regs.eip > code.limit:
        raise XenError(Errno.EINVAL, f"EIP {regs.eip:#x} is outside of CS")
    stack = _segment("SS", regs.ss_base, regs.ss_limit, regs.ss_ar)
    data = _segment("DS", regs.ds_base, regs.ds_limit, regs.ds_ar)
    extra = _segment("ES", regs.es_base, regs.es_limit, regs.es_ar)
    if _privilege(stack) != _privilege(code):
        raise XenError(Errno.EINVAL, "CS and SS have different privilege levels")
    if any(s.attributes and _privilege(s) > _privilege(code) for s in (data, extra)):
        raise XenError(Errno.EINVAL, "DS or ES has a higher privilege level than CS")
    return CpuState(
        rip=regs.eip,
        rsp=regs.esp,
        rflags=_flags(regs.eflags),
        cr0=regs.cr0,
        cr3=regs.cr3,
        cr4=_cr4(regs.cr4),
        efer=_efer(regs.efer, regs.cr0, regs.cr4),
        cs=code,
        ds=data,
        es=extra,
        ss=stack,
        tr=_segment("TR", regs.tr_base, regs.tr_limit, regs.tr_ar),
        general={"r" + name[1:]: getattr(regs, name) for name in _GENERAL_32},
    )


def _long_mode(regs: VcpuHvmX86_64) -> CpuState:
    if not regs.cr0 & _CR0_PG or not regs.cr4 & _CR4_PAE or not regs.efer & _EFER_LME:
        raise XenError(Errno.EINVAL, "a 64-bit context without long mode")
    if regs.rip >> 47 not in (0, 0x1FFFF):
        raise XenError(Errno.EINVAL, f"RIP {regs.rip:#x} is not canonical")
    return CpuState(
        rip=regs.rip,
        rsp=regs.rsp,
        rflags=_flags(regs.rflags),
        cr0=regs.cr0 | _CR0_PE,
        cr3=regs.cr3,
        cr4=_cr4(regs.cr4),
        efer=_efer(regs.efer, regs.cr0, regs.cr4),
        cs=_CODE_64,
        ds=_DATA_64,
        es=_DATA_64,
        ss=_DATA_64,
        general={name: getattr(regs, name) for name in _GENERAL_64},
    )


def _flags(value: int) -> int:
    return value & _RFLAGS_VALID | _RFLAGS_ALWAYS


def _cr4(value: int) -> int:
    if value & ~_CR4_VALID:
        raise XenError(Errno.EINVAL, f"CR4 {value:#x}")
    return value


def _efer(value: int, cr0: int, cr4: int) -> int:
    """EFER, in which long mode is active if it is enabled and paging is on."""
    if value & ~_EFER_VALID:
        raise XenError(Errno.EINVAL, f"EFER {value:#x}")
    if not value & _EFER_LME or not cr0 & _CR0_PG:
        return value & ~_EFER_LMA
    if not cr4 & _CR4_PAE:
        raise XenError(Errno.EINVAL, "long mode without PAE")
    return value | _EFER_LMA


def _segment(name: str, base: int, limit: int, access_rights: int) -> Segment:
    """A segment from its fields, checked as Xen's check_segment() does.

    ``access_rights``: bits 0-7 are those of a descriptor's bits 40-47, bits 8-11 those of 52-55.
    """
    if access_rights >> 12:
        raise XenError(Errno.EINVAL, f"{name}'s attributes have undefined bits")
    if not access_rights and name in ("DS", "ES"):
        return Segment(0, 0, limit, base)
    if not access_rights & _PRESENT:
        raise XenError(Errno.EINVAL, f"{name} is not present")
    access_rights |= _BUSY if name == "TR" else _ACCESSED
    if not any(access_rights & mask == value for mask, value in _TYPES[name]):
        raise XenError(Errno.EINVAL, f"{name} cannot be of type {access_rights & 0x1F:#x}")
    if access_rights & _GRANULAR:
        limit = (limit << 12 | 0xFFF) & 0xFFFF_FFFF
    return Segment(0, access_rights, limit, base)


def _privilege(segment: Segment) -> int:
    return segment.attributes >> 5 & 3
