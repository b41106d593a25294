"""The model-specific registers that a PV guest's kernel can read and write.

As in read_msr and write_msr of xen/arch/x86/pv/emul-priv-op.c; everything else raises #GP.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from xenolith.engine.hvm import GuestException, Vector
from xenolith.hypervisor.cpuid_faulting import CpuidFaulting

if TYPE_CHECKING:
    from xenolith.engine.pv import PvVcpu as EnginePvVcpu


class Msr(IntEnum):
    """Registers that are not constant."""

    TSC = 0x10
    APIC_BASE = 0x1B
    PAT = 0x277
    EFER = 0xC0000080
    FS_BASE = 0xC0000100
    GS_BASE = 0xC0000101
    SHADOW_GS_BASE = 0xC0000102


_APIC_BSP = 0xFEE00100
_XEN_PAT = 0x050100070406
_EFER_NXE_LMA_LME_SCE = 0xD01

_CONSTANT = {
    0x17: 0,  # PLATFORM_ID
    0x8B: 0,  # microcode patch level
    0x1A0: 1 << 11 | 1 << 12,  # MISC_ENABLE: no BTS, no PEBS
    0x1D9: 0,  # DEBUGCTL
    0xC0010010: 0,  # SYSCFG
    0xC0010015: 1 << 24,  # HWCR: TSC runs at P0's frequency
    0xC001001F: 0,  # NB_CFG
    0xC0010055: 0,  # interrupt pending message
    0xC0010058: 0,  # MMIO configuration base: none
    0xC0010061: 0,  # P-states: only P0
    0xC0010062: 0,
    0xC0010063: 0,
    0xC0011029: 1 << 1,  # DE_CFG: LFENCE serialises
}
"""Registers that read as a constant and ignore writes."""

_HYPERVISOR_MSRS = 0x4000

_USER_END, _KERNEL_START = 0x8000_0000_0000, 0xFFFF_8000_0000_0000


class PvMsrPolicy:
    """RDMSR and WRMSR of one vCPU."""

    def __init__(self, vcpu: EnginePvVcpu, vcpu_id: int, read_tsc: Callable[[], int]) -> None:
        self._vcpu = vcpu
        self._cpuid_faulting = CpuidFaulting(vcpu)
        self._vcpu_id = vcpu_id
        self._read_tsc = read_tsc

    def read(self, msr: int) -> int:
        """Return the value or raise GuestException(#GP)."""
        match msr:
            case Msr.FS_BASE:
                return self._vcpu.fs_base
            case Msr.GS_BASE:
                return self._vcpu.gs_base_kernel
            case Msr.SHADOW_GS_BASE:
                return self._vcpu.gs_base_user
            case Msr.TSC:
                return self._read_tsc()
            case Msr.APIC_BASE:
                return 0 if self._vcpu_id else _APIC_BSP
            case Msr.PAT:
                return _XEN_PAT
            case Msr.EFER:
                return _EFER_NXE_LMA_LME_SCE
        value = _CONSTANT.get(msr)
        if value is None:
            value = self._cpuid_faulting.read(msr)
        if value is not None:
            return value
        if self._vcpu.has_trap(Vector.GP) or msr >> 16 == _HYPERVISOR_MSRS:
            raise GuestException(Vector.GP)
        # Linux before 4.7 reads registers that may be missing before it can handle a fault.
        return 0

    def write(self, msr: int, value: int) -> None:
        """Store the value or raise GuestException(#GP)."""
        if msr in (Msr.FS_BASE, Msr.GS_BASE, Msr.SHADOW_GS_BASE):
            if _USER_END <= value < _KERNEL_START:
                raise GuestException(Vector.GP)
            if msr == Msr.FS_BASE:
                self._vcpu.fs_base = value
            elif msr == Msr.GS_BASE:
                self._vcpu.gs_base_kernel = value
            else:
                self._vcpu.gs_base_user = value
        elif msr in (Msr.PAT, Msr.EFER):
            if value != self.read(msr):
                raise GuestException(Vector.GP)
        elif msr not in _CONSTANT and not self._cpuid_faulting.write(msr, value):
            raise GuestException(Vector.GP)
