"""AMD's virtual machine control block and the MSR permission map (AMD APM volume 2, appendix B)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from xenolith.engine.hvm import CpuState, Segment
from xenolith.machine.address import PAGE_SIZE

MSR_MAP_BYTES = 2 * PAGE_SIZE

EFER_SVME = 1 << 12
_PAT_AT_RESET = 0x0007040600070406


class Exit(IntEnum):
    """#VMEXIT codes that are more than an undefined instruction."""

    WRITE_CR4 = 0x14
    NMI = 0x61
    VINTR = 0x64
    CPUID = 0x72
    PAUSE = 0x77
    HLT = 0x78
    MSR = 0x7C
    SHUTDOWN = 0x7F
    VMMCALL = 0x81
    NPF = 0x400


class Offset(IntEnum):
    """Byte offsets of the control area's fields, and of the state save area's below ``STATE``."""

    INTERCEPT_CR_WRITES = 0x00
    INTERCEPT_MISC1 = 0x0C
    INTERCEPT_MISC2 = 0x10
    MSR_MAP = 0x48
    GUEST_ASID = 0x58
    EXIT_INFO_2 = 0x80
    NESTED_CTL = 0x90
    EVENT_INJ = 0xA8
    EVENT_INJ_ERR = 0xAC
    NESTED_CR3 = 0xB0
    STATE = 0x400
    ES = 0x400
    CS = 0x410
    SS = 0x420
    DS = 0x430
    FS = 0x440
    GS = 0x450
    GDTR = 0x460
    LDTR = 0x470
    IDTR = 0x480
    TR = 0x490
    EFER = 0x4D0
    CR4 = 0x548
    CR3 = 0x550
    CR0 = 0x558
    DR7 = 0x560
    DR6 = 0x568
    RFLAGS = 0x570
    RIP = 0x578
    RSP = 0x5D8
    RAX = 0x5F8
    PAT = 0x668


class Intercept1(IntFlag):
    """The first word of miscellaneous intercepts."""

    NMI = 1 << 1
    VINTR = 1 << 4
    CPUID = 1 << 18
    SWINT = 1 << 21
    PAUSE = 1 << 23
    HLT = 1 << 24
    INVLPGA = 1 << 26
    MSR = 1 << 28
    SHUTDOWN = 1 << 31


_INTERCEPTS_1 = (
    Intercept1.NMI
    | Intercept1.VINTR
    | Intercept1.CPUID
    | Intercept1.SWINT
    | Intercept1.HLT
    | Intercept1.INVLPGA
    | Intercept1.MSR
    | Intercept1.SHUTDOWN
)
_WRITES_OF_CR4 = 1 << 16 + 4
"""Writes of control registers are the upper half of the word. This one and INT n are for corrections.h."""

_INTERCEPTS_2 = 0x0C7F
"""VMMCALL, the rest of SVM's own instructions, MONITOR and MWAIT; not RDTSCP, ICEBP, WBINVD, XSETBV."""

_DIRECT_MSRS = (
    *range(0x174, 0x177),  # SYSENTER
    0x277,  # PAT
    *range(0xC0000081, 0xC0000085),  # STAR, LSTAR, CSTAR, FMASK; not EFER: see efer.py
    *range(0xC0000100, 0xC0000104),  # FS, GS and kernel GS base, TSC_AUX
)
"""MSRs that the emulated CPU keeps per vCPU and that need no exit."""


def msr_permission_map() -> bytes:
    """Two bits an MSR, set where an access exits: all but the direct ones."""
    bits = bytearray(b"\xff" * MSR_MAP_BYTES)
    for msr in _DIRECT_MSRS:
        block, index = (0x800, msr - 0xC0000000) if msr >= 0xC0000000 else (0, msr)
        bits[block + index // 4] &= ~(3 << (index % 4 * 2)) & 0xFF
    return bytes(bits)


class Vmcb:
    """A view of one control block in the engine's private memory."""

    def __init__(self, view: memoryview) -> None:
        self._bytes = view
        self._words32 = view.cast("I")
        self._words64 = view.cast("Q")

    def read64(self, offset: Offset) -> int:
        """Read a 64-bit field."""
        return self._words64[offset >> 3]

    def read32(self, offset: Offset) -> int:
        """Read a 32-bit field."""
        return self._words32[offset >> 2]

    def write64(self, offset: Offset, value: int) -> None:
        """Write a 64-bit field."""
        self._words64[offset >> 3] = value

    def write32(self, offset: Offset, value: int) -> None:
        """Write a 32-bit field."""
        self._words32[offset >> 2] = value

    def configure(self, msr_map: int) -> None:
        """Fill the control area: what exits."""
        self.write32(Offset.INTERCEPT_CR_WRITES, _WRITES_OF_CR4)
        self.write32(Offset.INTERCEPT_MISC1, _INTERCEPTS_1)
        self.write32(Offset.INTERCEPT_MISC2, _INTERCEPTS_2)
        self.write64(Offset.MSR_MAP, msr_map)
        self.write32(Offset.GUEST_ASID, 1)

    def use_nested_paging(self, root: int) -> None:
        """Translate guest-physical addresses from the next VMRUN on."""
        self.write64(Offset.NESTED_CTL, 1)
        self.write64(Offset.NESTED_CR3, root)

    def intercept_pause(self) -> None:
        """Make PAUSE exit, too."""
        self.write32(Offset.INTERCEPT_MISC1, _INTERCEPTS_1 | Intercept1.PAUSE)

    def load(self, state: CpuState) -> None:
        """Fill the state save area with what the guest starts with, and forget what it was to get before."""
        self.write32(Offset.EVENT_INJ, 0)
        self._segment(Offset.CS, state.cs)
        self._segment(Offset.SS, state.ss)
        self._segment(Offset.DS, state.ds)
        self._segment(Offset.ES, state.es)
        self._segment(Offset.FS, state.ds)
        self._segment(Offset.GS, state.ds)
        self._segment(Offset.GDTR, Segment(limit=0))
        self._segment(Offset.LDTR, Segment(attributes=0x82, limit=0))
        self._segment(Offset.IDTR, Segment(limit=0))
        self._segment(Offset.TR, state.tr)
        self.write64(Offset.EFER, state.efer | EFER_SVME)
        self.write64(Offset.CR0, state.cr0)
        self.write64(Offset.CR3, state.cr3)
        self.write64(Offset.CR4, state.cr4)
        self.write64(Offset.DR6, 0xFFFF0FF0)
        self.write64(Offset.DR7, 0x400)
        self.write64(Offset.RFLAGS, state.rflags)
        self.write64(Offset.RIP, state.rip)
        self.write64(Offset.RSP, state.rsp)
        self.write64(Offset.RAX, state.general.get("rax", 0))
        self.write64(Offset.PAT, _PAT_AT_RESET)

    def _segment(self, offset: Offset, segment: Segment) -> None:
        self._words32[offset >> 2] = segment.selector | segment.attributes << 16
        self._words32[(offset >> 2) + 1] = segment.limit
        self._words64[(offset >> 3) + 1] = segment.base
