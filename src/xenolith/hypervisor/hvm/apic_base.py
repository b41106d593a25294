"""IA32_APIC_BASE: where a local APIC is and in which mode (Intel SDM volume 3, sections 11.4.4 and 11.12.5)."""

from __future__ import annotations

from enum import IntEnum

from xenolith.engine.hvm import GuestException, Vector

APIC_BASE_ADDRESS = 0xFEE00000

_BSP = 1 << 8
_X2APIC = 1 << 10
_ENABLE = 1 << 11
_MODE = _ENABLE | _X2APIC


class ApicMode(IntEnum):
    """How its registers are reached, by the bits that say so."""

    DISABLED = 0
    XAPIC = _ENABLE
    X2APIC = _MODE


_TRANSITIONS = {
    ApicMode.DISABLED: (ApicMode.DISABLED, ApicMode.XAPIC),
    ApicMode.XAPIC: tuple(ApicMode),
    ApicMode.X2APIC: (ApicMode.DISABLED, ApicMode.X2APIC),
}


class ApicBase:
    """The register, in xAPIC mode at first."""

    def __init__(self, is_bootstrap_processor: bool) -> None:
        self._bsp = _BSP if is_bootstrap_processor else 0
        self.mode = ApicMode.XAPIC

    def read(self) -> int:
        """Its value."""
        return APIC_BASE_ADDRESS | self._bsp | self.mode

    def write(self, value: int) -> None:
        """Change the mode; GuestException(#GP) if that cannot be, or for another address."""
        mode = value & _MODE
        if mode not in _TRANSITIONS[self.mode] or value & ~(_MODE | _BSP) != APIC_BASE_ADDRESS:
            raise GuestException(Vector.GP)
        self.mode = ApicMode(mode)
