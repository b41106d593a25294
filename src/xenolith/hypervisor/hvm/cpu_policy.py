"""What CPUID tells a guest: the engine's processor, less what it lacks, plus Xen's own leaves.

Xen's leaves are defined in public/arch-x86/cpuid.h.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.cpuid import (
    XEN_CPUID_FIRST_LEAF,
    XEN_CPUID_SIGNATURE_EBX,
    XEN_CPUID_SIGNATURE_ECX,
    XEN_CPUID_SIGNATURE_EDX,
    XEN_HVM_CPUID_DOMID_PRESENT,
    XEN_HVM_CPUID_VCPU_ID_PRESENT,
    XEN_HVM_CPUID_X2APIC_VIRT,
)
from xenolith.hypervisor.release import XEN_MAJOR, XEN_MINOR

Leaf = tuple[int, int, int, int]
CpuidSource = Callable[[int, int], Leaf]

HYPERCALL_MSR = 0x40000000
"""Where a guest writes the address of the page that it wants hypercall stubs in."""

PHYSICAL_ADDRESS_BITS = 40
_VIRTUAL_ADDRESS_BITS = 48

_MAX_BASIC_LEAF = 7
_MAX_EXTENDED_LEAF = 0x80000008
_MAX_XEN_LEAF = XEN_CPUID_FIRST_LEAF + 5

_SIGNATURE = 0x00000F40
"""Family 15, model 4 (a K8): Linux neither prefers string instructions, which are slow under emulation, nor
knows a speculation bug to work around."""

_ECX1_HIDDEN = 1 << 3 | 1 << 15 | 1 << 17 | 1 << 24 | 7 << 26
"""MONITOR, PDCM, PCID, TSC deadline, XSAVE to AVX."""
_ECX1_X2APIC, _ECX1_HYPERVISOR = 1 << 21, 1 << 31
_EDX1_APIC, _EDX1_HTT = 1 << 9, 1 << 28
_EDX1_HIDDEN = 1 << 7 | 1 << 12 | 1 << 14 | 1 << 28  # MCE, MTRR, MCA, HTT
_EDX1_SEP = 1 << 11
"""SYSENTER: the emulator goes astray on it. Linux of 32 bits then makes its system calls by INT 80h."""
_EBX7_HIDDEN = 1 << 5 | 1 << 9 | 1 << 10  # AVX2, ERMS (slow under emulation), INVPCID
_EBX7_WITH_MSRS = 1 << 1 | 1 << 2 | 1 << 12 | 1 << 15 | 1 << 25
"""TSC_ADJUST, SGX, resource monitoring and allocation, processor trace: a guest gets none of their registers."""
_ECX7_WITH_MSRS = 1 << 5 | 1 << 7 | 1 << 24 | 1 << 30 | 1 << 31
"""WAITPKG, shadow stacks, BUS_LOCK_DETECT, SGX_LC, PKS."""
_EDX7_WITH_MSRS = 1 << 9 | 1 << 13 | 1 << 18 | 1 << 19 | 1 << 20 | 0x3F << 26
"""SRBDS_CTRL, TSX_FORCE_ABORT, PCONFIG, ARCH_LBR, CET_IBT; IBRSB to SSBD, ARCH_CAPS among them."""
_ECX81_HIDDEN = 1 << 2 | 1 << 9 | 1 << 10 | 1 << 12  # SVM, OSVW, IBS, SKINIT
_ECX81_CMP_LEGACY = 1 << 1
_EDX87_INVARIANT_TSC = 1 << 8

_BRAND = b"Xenolith Virtual Processor".ljust(48, b"\0")
_BRAND_LEAVES = range(0x80000002, 0x80000005)
_BRAND_BYTES = 16


class CpuPolicy:
    """CPUID of one vCPU over the engine's leaves.

    The vCPUs are cores of one package, so that Linux calibrates its delay loop once, not on each of them.
    """

    def __init__(
        self, source: CpuidSource, domid: int, vcpu_id: int, vcpus: int, tsc_khz: int
    ) -> None:
        self._source = source
        self._vcpus = vcpus
        self._domid = domid
        self._vcpu_id = vcpu_id
        self._apic_id = 2 * vcpu_id
        self._tsc_khz = tsc_khz

    def cpuid(self, leaf: int, subleaf: int) -> Leaf:
        """EAX, EBX, ECX and EDX; zeros for a leaf that does not exist."""
        if XEN_CPUID_FIRST_LEAF <= leaf <= _MAX_XEN_LEAF:
            return self._xen(leaf - XEN_CPUID_FIRST_LEAF, subleaf)
        if leaf in _BRAND_LEAVES:
            return _words(_BRAND, (leaf - _BRAND_LEAVES.start) * _BRAND_BYTES)
        if leaf > _MAX_BASIC_LEAF and not 0x80000000 <= leaf <= _MAX_EXTENDED_LEAF:
            return 0, 0, 0, 0
        eax, ebx, ecx, edx = self._source(leaf, subleaf)
        match leaf:
            case 0:
                eax = _MAX_BASIC_LEAF
            case 1:
                eax = _SIGNATURE
                ebx = (self._apic_id & 0xFF) << 24 | min(2 * self._vcpus, 255) << 16 | ebx & 0xFF00
                ecx = ecx & ~_ECX1_HIDDEN | _ECX1_X2APIC | _ECX1_HYPERVISOR
                edx = edx & ~(_EDX1_HIDDEN | _EDX1_SEP) | _EDX1_APIC
                edx |= _EDX1_HTT if self._vcpus > 1 else 0
            case 4:
                return 0, 0, 0, 0
            case 7 if subleaf:
                return 0, 0, 0, 0
            case 7:
                eax = 0
                ebx &= ~(_EBX7_HIDDEN | _EBX7_WITH_MSRS)
                ecx &= ~_ECX7_WITH_MSRS
                edx &= ~_EDX7_WITH_MSRS
            case 0x80000000:
                eax = _MAX_EXTENDED_LEAF
            case 0x80000001:
                eax = _SIGNATURE
                ecx = ecx & ~_ECX81_HIDDEN | _ECX81_CMP_LEGACY
                edx &= ~_EDX1_HIDDEN
            case 0x80000007:
                eax = ebx = ecx = 0
                edx = _EDX87_INVARIANT_TSC
            case 0x80000008:
                eax = PHYSICAL_ADDRESS_BITS | _VIRTUAL_ADDRESS_BITS << 8
                ebx = edx = 0
                ecx = self._vcpus - 1 | (2 * self._vcpus - 1).bit_length() << 12
        return eax, ebx, ecx, edx

    def _xen(self, leaf: int, subleaf: int) -> Leaf:
        match leaf:
            case 0:
                return (
                    _MAX_XEN_LEAF,
                    XEN_CPUID_SIGNATURE_EBX,
                    XEN_CPUID_SIGNATURE_ECX,
                    XEN_CPUID_SIGNATURE_EDX,
                )
            case 1:
                return XEN_MAJOR << 16 | XEN_MINOR, 0, 0, 0
            case 2:
                return 1, HYPERCALL_MSR, 0, 0
            case 3:
                return self._time(subleaf)
            case 4 if subleaf == 0:
                present = (
                    XEN_HVM_CPUID_X2APIC_VIRT
                    | XEN_HVM_CPUID_VCPU_ID_PRESENT
                    | XEN_HVM_CPUID_DOMID_PRESENT
                )
                return present, self._vcpu_id, self._domid, 0
        return 0, 0, 0, 0

    def _time(self, subleaf: int) -> Leaf:
        """The TSC is stable and never emulated; its frequency in kHz."""
        match subleaf:
            case 0:
                tsc_is_reliable, never_emulated = 1 << 1, 2
                return tsc_is_reliable, never_emulated, self._tsc_khz, 0
            case 2:
                return self._tsc_khz, 0, 0, 0
        return 0, 0, 0, 0


def _words(text: bytes, offset: int) -> Leaf:
    parts = [
        int.from_bytes(text[at : at + 4], "little")
        for at in range(offset, offset + _BRAND_BYTES, 4)
    ]
    return parts[0], parts[1], parts[2], parts[3]
