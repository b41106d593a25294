"""CPUID faulting: a kernel's choice to have CPUID be #GP in its programs, which engines may offer.

As guest_rdmsr and guest_wrmsr of xen/arch/x86/msr.c have it, for guests of either type.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.engine.hvm import GuestException, Vector

_PLATFORM_INFO = 0xCE
_IS_THERE = 1 << 31
_MISC_FEATURES_ENABLES = 0x140
_IS_ON = 1 << 0


class EngineVcpu(Protocol):
    """What runs a vCPU, of either type."""

    faults_cpuid: bool | None
    """See engine/hvm.py and engine/pv.py."""


class CpuidFaulting:
    """The two registers of one vCPU that it has where its engine can do it."""

    def __init__(self, vcpu: EngineVcpu) -> None:
        self._vcpu = vcpu

    def read(self, msr: int) -> int | None:
        """The register's value; None where there is no such register."""
        if self._vcpu.faults_cpuid is None:
            return None
        if msr == _PLATFORM_INFO:
            return _IS_THERE
        if msr == _MISC_FEATURES_ENABLES:
            return _IS_ON if self._vcpu.faults_cpuid else 0
        return None

    def write(self, msr: int, value: int) -> bool:
        """Set the register, if it is one that can be; GuestException(#GP) where it has no such bits."""
        if msr != _MISC_FEATURES_ENABLES or self._vcpu.faults_cpuid is None:
            return False
        if value & ~_IS_ON:
            raise GuestException(Vector.GP)
        self._vcpu.faults_cpuid = bool(value)
        return True
