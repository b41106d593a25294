"""The model-specific registers of an HVM vCPU that exit: the LAPIC's, Xen's, and a few of the processor's.

Everything else raises #GP, as Xen does since 4.15.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.engine.hvm import GuestException, HvmVcpu, Vector
from xenolith.hypervisor.cpuid_faulting import CpuidFaulting
from xenolith.hypervisor.hvm.cpu_policy import HYPERCALL_MSR
from xenolith.hypervisor.hvm.lapic import LocalApic

_TSC = 0x10
_APIC_BASE = 0x1B
_X2APIC = range(0x800, 0x900)
_MTRR_DEFAULT_TYPE = 0x2FF
_MTRR_ENABLED_WRITE_BACK = 0x806

_CONSTANT = {
    0x17: 0,  # PLATFORM_ID
    0x8B: 0,  # microcode patch level
    0xFE: 0,  # MTRRCAP: no variable ranges
    _MTRR_DEFAULT_TYPE: _MTRR_ENABLED_WRITE_BACK,
    0x1A0: 1 << 11 | 1 << 12,  # MISC_ENABLE: no BTS, no PEBS
    0x1D9: 0,  # DEBUGCTL, and from where to where the last branch and the last exception went
    **dict.fromkeys(range(0x1DB, 0x1DF), 0),
    0xC0010010: 0,  # SYSCFG
    0xC0010015: 1 << 24,  # HWCR: TSC runs at P0's frequency
    0xC001001F: 0,  # NB_CFG
    0xC0010055: 0,  # interrupt pending message
    0xC0010058: 0,  # MMIO configuration base: none
    0xC0010061: 0,  # P-states: only P0
    0xC0010063: 0,
    0xC0010112: 0,  # SMM
    0xC0010113: 0,
    0xC0011029: 1 << 1,  # DE_CFG: LFENCE serialises
}
"""Registers that read as a constant and ignore writes."""


class MsrPolicy:
    """RDMSR and WRMSR of one vCPU."""

    def __init__(
        self,
        vcpu: HvmVcpu,
        lapic: LocalApic,
        read_tsc: Callable[[], int],
        write_hypercall_page: Callable[[int], None],
    ) -> None:
        self._cpuid_faulting = CpuidFaulting(vcpu)
        self._lapic = lapic
        self._read_tsc = read_tsc
        self._write_hypercall_page = write_hypercall_page

    def read(self, msr: int) -> int:
        """Return the value or raise GuestException(#GP)."""
        value = _CONSTANT.get(msr)
        if value is not None:
            return value
        if msr in _X2APIC:
            return self._lapic.read_msr(msr)
        if msr == _APIC_BASE:
            return self._lapic.read_base()
        if msr == _TSC:
            return self._read_tsc()
        if msr == HYPERCALL_MSR:
            return 0
        value = self._cpuid_faulting.read(msr)
        if value is None:
            raise GuestException(Vector.GP)
        return value

    def write(self, msr: int, value: int) -> None:
        """Store the value or raise GuestException(#GP)."""
        if msr in _X2APIC:
            self._lapic.write_msr(msr, value)
        elif msr == HYPERCALL_MSR:
            self._write_hypercall_page(value)
        elif msr == _APIC_BASE:
            self._lapic.write_base(value)
        elif msr not in _CONSTANT and msr != _TSC and not self._cpuid_faulting.write(msr, value):
            raise GuestException(Vector.GP)
