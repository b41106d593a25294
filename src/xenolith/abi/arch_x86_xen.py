"""What of the x86 part of the interface an HVM guest shares with the hypervisor.

Mirrors public/arch-x86/xen.h (and arch-x86/xen-x86_64.h, which it includes).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from xenolith.abi.layout import U64, ULONG, Layout

HEADER = "arch-x86/xen.h"

XEN_LEGACY_MAX_VCPUS = 32
"""How many vcpu_info structs shared_info has room for."""

XEN_HVM_DEBUGCONS_IOPORT = 0xE9
"""The port to which an HVM guest writes debugging text."""

XEN_CPUID_NO_SUBLEAF = 0xFFFFFFFF


class ArchVcpuInfo(NamedTuple):
    """The x86 part of vcpu_info; only PV guests use it."""

    cr2: ULONG
    pad: Annotated[tuple[int, ...], "1Q", "5I"]


ARCH_VCPU_INFO = Layout(ArchVcpuInfo, "struct arch_vcpu_info", HEADER)


class ArchSharedInfo(NamedTuple):
    """The x86 part of shared_info: where a PV guest keeps its p2m."""

    max_pfn: U64
    pfn_to_mfn_frame_list_list: U64
    nmi_reason: U64
    p2m_cr3: U64
    p2m_vaddr: U64
    p2m_generation: U64


ARCH_SHARED_INFO = Layout(ArchSharedInfo, "struct arch_shared_info", HEADER)
