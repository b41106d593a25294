"""The registers of a local APIC: where they are and which of their bits can be written.

Intel SDM volume 3, chapter 11; what Xen leaves out is left out (xen/arch/x86/hvm/vlapic.c).
"""

from __future__ import annotations

from enum import IntEnum

LVT_MASKED = 1 << 16
LVT_PERIODIC = 1 << 17
SVR_ENABLE = 1 << 8
ICR_BUSY = 1 << 12
VECTOR = 0xFF
FIRST_VALID_VECTOR = 16

ESR_SEND_ILLEGAL_VECTOR = 1 << 5
ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6


class Register(IntEnum):
    """Offsets of the registers in the xAPIC page; an x2APIC MSR is 0x800 + offset / 16."""

    ID = 0x20
    VERSION = 0x30
    TPR = 0x80
    PPR = 0xA0
    EOI = 0xB0
    LDR = 0xD0
    DFR = 0xE0
    SVR = 0xF0
    ISR = 0x100
    TMR = 0x180
    IRR = 0x200
    ESR = 0x280
    ICR = 0x300
    ICR_HIGH = 0x310
    LVT_TIMER = 0x320
    LVT_THERMAL = 0x330
    LVT_PERFORMANCE = 0x340
    LVT_LINT0 = 0x350
    LVT_LINT1 = 0x360
    LVT_ERROR = 0x370
    TIMER_INITIAL = 0x380
    TIMER_CURRENT = 0x390
    TIMER_DIVIDE = 0x3E0
    SELF_IPI = 0x3F0


class Delivery(IntEnum):
    """How an IPI is delivered."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6


_LVT = LVT_MASKED | VECTOR
_DELIVERY_MODE = 7 << 8
_STATUS, _POLARITY, _REMOTE_IRR, _LEVEL = (1 << bit for bit in (12, 13, 14, 15))
_LINT = _LVT | _DELIVERY_MODE | _POLARITY | _LEVEL

LVTS: dict[int, int] = {
    Register.LVT_TIMER.value: _LVT | LVT_PERIODIC,
    Register.LVT_THERMAL.value: _LVT | _DELIVERY_MODE,
    Register.LVT_PERFORMANCE.value: _LVT | _DELIVERY_MODE,
    Register.LVT_LINT0.value: _LINT,
    Register.LVT_LINT1.value: _LINT,
    Register.LVT_ERROR.value: _LVT,
}
"""The local vector table: the bits of each entry that can be written."""

X2APIC_WRITABLE: dict[int, int] = {
    Register.TPR.value: 0xFF,
    Register.EOI.value: 0,
    Register.SVR.value: 0x3FF,
    Register.ESR.value: 0,
    Register.ICR.value: 0xFFFFFFFF_000CCFFF,
    **{offset: bits | _STATUS for offset, bits in LVTS.items()},
    Register.LVT_LINT0.value: _LINT | _STATUS | _REMOTE_IRR,
    Register.LVT_LINT1.value: _LINT | _STATUS | _REMOTE_IRR,
    Register.TIMER_INITIAL.value: 0xFFFFFFFF,
    Register.TIMER_DIVIDE.value: 0xB,
    Register.SELF_IPI.value: VECTOR,
}
"""What may be written to an x2APIC MSR; any other bit is #GP, as is any other MSR."""

X2APIC_READABLE = frozenset(
    {register.value for register in Register}
    - {Register.EOI.value, Register.DFR.value, Register.ICR_HIGH.value, Register.SELF_IPI.value}
    | {block + 0x10 * word for block in (0x100, 0x180, 0x200) for word in range(8)}
)
