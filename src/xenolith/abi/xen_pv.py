"""What of public/xen.h only PV guests use: page table updates, and the page that tells a kernel where it is."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U32, U64, ULONG, Layout

HEADER = "xen.h"


@c_constants("MMU_")
class MmuUpdateKind(IntEnum):
    """The low bits of a page table update's ``ptr``."""

    NORMAL_PT_UPDATE = 0
    MACHPHYS_UPDATE = 1
    PT_UPDATE_PRESERVE_AD = 2
    PT_UPDATE_NO_TRANSLATE = 3


class MmuUpdate(NamedTuple):
    """Store ``val`` at the machine address ``ptr``, a MmuUpdateKind in its low two bits."""

    ptr: U64
    val: U64


MMU_UPDATE = Layout(MmuUpdate, "struct mmu_update", HEADER)


@c_constants("MMUEXT_")
class MmuextCommand(IntEnum):
    """What a MmuextOp does."""

    PIN_L1_TABLE = 0
    PIN_L2_TABLE = 1
    PIN_L3_TABLE = 2
    PIN_L4_TABLE = 3
    UNPIN_TABLE = 4
    NEW_BASEPTR = 5
    TLB_FLUSH_LOCAL = 6
    INVLPG_LOCAL = 7
    TLB_FLUSH_MULTI = 8
    INVLPG_MULTI = 9
    TLB_FLUSH_ALL = 10
    INVLPG_ALL = 11
    FLUSH_CACHE = 12
    SET_LDT = 13
    NEW_USER_BASEPTR = 15
    CLEAR_PAGE = 16
    COPY_PAGE = 17
    FLUSH_CACHE_GLOBAL = 18
    MARK_SUPER = 19
    UNMARK_SUPER = 20


class MmuextOp(NamedTuple):
    """One extended operation: a frame or linear address, and what else it needs."""

    cmd: U32
    arg1: ULONG
    arg2: ULONG

    @property
    def nr_ents(self) -> int:
        """The second argument where it is a number of entries, of 32 bits: what follows it is stale."""
        return self.arg2 & 0xFFFFFFFF


MMUEXT_OP = Layout(
    MmuextOp, "struct mmuext_op", HEADER, {"arg1": "arg1.mfn", "arg2": "arg2.nr_ents"}
)

UVMF_TLB_FLUSH = 1
UVMF_INVLPG = 2
UVMF_FLUSHTYPE_MASK = 3

SIF_MOD_START_PFN = 1 << 3
SIF_VIRT_P2M_4TOOLS = 1 << 4

MAX_GUEST_CMDLINE = 1024


class StartInfo(NamedTuple):
    """What a PV kernel finds at the address in RSI when it starts."""

    magic: Annotated[bytes, "32s"]
    nr_pages: ULONG
    shared_info: ULONG
    flags: U32
    store_mfn: ULONG
    store_evtchn: U32
    console_mfn: ULONG
    console_evtchn: U32
    pt_base: ULONG
    nr_pt_frames: ULONG
    mfn_list: ULONG
    mod_start: ULONG
    mod_len: ULONG
    cmd_line: Annotated[bytes, "1024s"]
    first_p2m_pfn: ULONG
    nr_p2m_frames: ULONG


START_INFO = Layout(
    StartInfo,
    "struct start_info",
    HEADER,
    {"console_mfn": "console.domU.mfn", "console_evtchn": "console.domU.evtchn"},
)
