"""EFER as the guest of an engine that needs SVM sees it: without the bit that enables SVM (AMD APM volume 2).

A guest that wrote the register without knowing of that bit would lose VMMCALL.
"""

from __future__ import annotations

from xenolith.engine.hvm import GuestException, Vector
from xenolith.engine.unicorn.registers import UnicornRegisters

EFER = 0xC0000080

_SCE, _LME, _LMA, _NXE, _SVME = 1 << 0, 1 << 8, 1 << 10, 1 << 11, 1 << 12
_WRITABLE = _SCE | _LME | _NXE
_CR0_PG = 1 << 31


def read_efer(registers: UnicornRegisters) -> int:
    """What RDMSR gives the guest."""
    return registers.efer & ~_SVME


def write_efer(registers: UnicornRegisters, value: int) -> None:
    """Do the guest's WRMSR, after which the TLB is to be flushed; GuestException(#GP)."""
    changed = registers.efer ^ value
    if value & ~(_WRITABLE | _LMA) or (changed & _LME and registers.cr0 & _CR0_PG):
        raise GuestException(Vector.GP)
    registers.efer = registers.efer & ~_WRITABLE | value & _WRITABLE
