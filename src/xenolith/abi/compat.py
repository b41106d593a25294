"""The shared info page as a 32-bit guest has it, where the rules of abi.layout do not lead to it.

Mirrors public/xen.h and public/arch-x86/xen.h as a 32-bit compiler reads them.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from xenolith.abi.layout import U32, ULONG, Layout
from xenolith.abi.xen import SHARED_INFO


class ArchSharedInfo32(NamedTuple):
    """The x86 part of shared_info; the wall clock's high half has its place here."""

    max_pfn: ULONG
    pfn_to_mfn_frame_list_list: ULONG
    nmi_reason: ULONG
    p2m_cr3: ULONG
    p2m_vaddr: ULONG
    p2m_generation: ULONG
    wc_sec_hi: U32


ARCH_SHARED_INFO_32 = Layout(ArchSharedInfo32, word=4)


class SharedInfo32(NamedTuple):
    """The shared info page: ``vcpu_info`` holds XEN_LEGACY_MAX_VCPUS structs."""

    vcpu_info: Annotated[bytes, "2048s"]
    evtchn_pending: Annotated[tuple[int, ...], "32I"]
    evtchn_mask: Annotated[tuple[int, ...], "32I"]
    wc_version: U32
    wc_sec: U32
    wc_nsec: U32
    arch: Annotated[ArchSharedInfo32, ARCH_SHARED_INFO_32]


SHARED_INFO_32 = Layout(SharedInfo32, word=4)

_WALL_CLOCK = ("wc_version", "wc_sec", "wc_nsec")
WALL_CLOCK = {
    8: (*(SHARED_INFO.offsets[name] for name in (*_WALL_CLOCK, "wc_sec_hi")),),
    4: (
        *(SHARED_INFO_32.offsets[name] for name in _WALL_CLOCK),
        SHARED_INFO_32.offsets["arch"] + ARCH_SHARED_INFO_32.offsets["wc_sec_hi"],
    ),
}
"""Where the shared info page has the wall clock's version, seconds, nanoseconds and high half of the seconds,
by the bytes of a word."""
