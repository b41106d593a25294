"""What CPUID tells a PV guest: the processor without what is the hypervisor's, plus Xen's own leaves.

Which features Xen hides from PV guests is xen/arch/x86/cpu-policy.c; its leaves are public/arch-x86/cpuid.h.
"""

from __future__ import annotations

from xenolith.abi.cpuid import XEN_CPUID_FIRST_LEAF
from xenolith.hypervisor.hvm.cpu_policy import (
    PHYSICAL_ADDRESS_BITS,
    CpuidSource,
    CpuPolicy,
    Leaf,
)

_ECX1_HIDDEN = 1 << 21
"""x2APIC: there is no APIC."""
_EDX1_HIDDEN = 1 << 3 | 1 << 11 | 1 << 13 | 1 << 17
"""PSE, SYSENTER, which AMD's processors do not have in long mode, PGE, and PSE36."""
_EBX7_HIDDEN = 1 << 0 | 1 << 7 | 1 << 20
"""FSGSBASE, so that the kernel keeps to hypercalls that do several things at once; SMEP and SMAP."""
_ECX7_HIDDEN = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 16
"""UMIP, PKU, OSPKE, LA57."""
_EDX81_HIDDEN = 1 << 3 | 1 << 13 | 1 << 17 | 1 << 26 | 1 << 27
"""PSE, PGE, PSE36, 1 GiB pages, and RDTSCP."""

_STATE_LEAF = 0xD
_ECX1_XSAVE_OSXSAVE = 3 << 26
_ECX1_AVX = 1 << 28 | 1 << 12 | 1 << 29
"""AVX, and what needs it: FMA and F16C."""
_EBX7_AVX2 = 1 << 5
_XSAVEOPT = 1
_LEGACY_STATE, _FIRST_STATE = 576, 2

_XEN_TIME, _XEN_HVM, _XEN_PV = 3, 4, 5
_PRESERVE_AD = 1 << 0


class PvCpuPolicy:
    """CPUID of one vCPU over the engine's leaves."""

    def __init__(
        self, source: CpuidSource, vcpu_id: int, vcpus: int, tsc_khz: int, xcr0: int = 0
    ) -> None:
        self._source = source
        self._base = CpuPolicy(source, 0, vcpu_id, vcpus, tsc_khz)
        self._xcr0 = xcr0

    def cpuid(self, leaf: int, subleaf: int) -> Leaf:
        """EAX, EBX, ECX and EDX; zeros for a leaf that does not exist."""
        eax, ebx, ecx, edx = self._base.cpuid(leaf, subleaf)
        match leaf:
            case 0 if self._xcr0:
                return max(eax, _STATE_LEAF), ebx, ecx, edx
            case 1:
                ecx &= ~_ECX1_HIDDEN
                if self._xcr0:
                    ecx |= _ECX1_XSAVE_OSXSAVE | self._source(leaf, subleaf)[2] & _ECX1_AVX
                return eax, ebx, ecx, edx & ~_EDX1_HIDDEN
            case 7 if subleaf == 0:
                ebx &= ~_EBX7_HIDDEN
                if self._xcr0:
                    ebx |= self._source(leaf, subleaf)[1] & _EBX7_AVX2
                return eax, ebx, ecx & ~_ECX7_HIDDEN, edx
            case value if value == _STATE_LEAF and self._xcr0:
                return self._state(subleaf)
            case 0x80000001:
                return eax, ebx, ecx, edx & ~_EDX81_HIDDEN
            case value if value == XEN_CPUID_FIRST_LEAF + 2:
                return eax, ebx, _PRESERVE_AD, 0
            case value if value == XEN_CPUID_FIRST_LEAF + _XEN_HVM:
                return 0, 0, 0, 0
            case value if value == XEN_CPUID_FIRST_LEAF + _XEN_PV:
                return 0, PHYSICAL_ADDRESS_BITS if subleaf == 0 else 0, 0, 0
        return eax, ebx, ecx, edx

    def _state(self, subleaf: int) -> Leaf:
        """The leaf about XSAVE: how large each state is, and where; none that take XSAVES."""
        if subleaf == 0:
            size = _LEGACY_STATE
            for state in range(_FIRST_STATE, self._xcr0.bit_length()):
                extent, offset, *_ = self._source(_STATE_LEAF, state)
                size = max(size, offset + extent)
            return self._xcr0, size, size, 0
        if subleaf == 1:
            return self._source(_STATE_LEAF, 1)[0] & _XSAVEOPT, 0, 0, 0
        if self._xcr0 >> subleaf & 1:
            return self._source(_STATE_LEAF, subleaf)
        return 0, 0, 0, 0
