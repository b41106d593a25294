"""The registers that XSAVE knows of: those that a PV guest's programs have, so that its kernel has to save them.

Programs execute CPUID and XGETBV themselves on some hosts, so what the kernel is told has to be what they find
(Intel SDM, volume 1, chapter 13).
"""

from __future__ import annotations

from xenolith.engine.kvm import api
from xenolith.engine.kvm.processor import Processor
from xenolith.engine.kvm.pv.host_cpu import LeafSource, host_xcr0
from xenolith.engine.kvm.pv.ring_3 import Ring3
from xenolith.engine.kvm.structures.registers import ExtendedControlRegisters

CR4_OSXSAVE = 1 << 18

_X87_SSE_AVX, _AVX512 = 7, 0xE0
_XSAVE, _AVX = 1 << 26, 1 << 28
_STATE_LEAF = 0xD


class ExtendedState:
    """What of XCR0 guests have: 0 where the processor has no AVX."""

    def __init__(self, leaf: LeafSource, ring_3: Ring3) -> None:
        ecx = leaf(1, 0)[2]
        self.features = 0
        self._is_ours = ring_3.answers_cpuid
        if not (ecx & _XSAVE and ecx & _AVX):
            return
        if self._is_ours:
            self.features = leaf(_STATE_LEAF, 0)[0] & _X87_SSE_AVX
        else:
            self.features = host_xcr0() & (_X87_SSE_AVX | _AVX512)

    @property
    def cr4(self) -> int:
        """Bits of CR4 by which programs have it."""
        return CR4_OSXSAVE if self.features and self._is_ours else 0

    def enable(self, processor: Processor) -> None:
        """Let a vCPU use it; its CPUID must have been set."""
        if self.features and self._is_ours:
            registers = ExtendedControlRegisters(nr_xcrs=1)
            registers.xcrs[0].value = self.features
            processor.request(api.KVM_SET_XCRS, registers, "XCR0")
