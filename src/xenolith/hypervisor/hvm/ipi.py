"""Interprocessor interrupts: whom the interrupt command register of a local APIC addresses, and what they get.

Intel SDM volume 3, section 11.6; Xen's vlapic_ipi() and vlapic_match_dest().
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xenolith.hypervisor.hvm.lapic_registers import FIRST_VALID_VECTOR, VECTOR, Delivery

_LOGICAL = 1 << 11
_ASSERT, _LEVEL = 1 << 14, 1 << 15


class IpiTarget(Protocol):
    """A local APIC as a sender sees it."""

    @property
    def accepts_interrupts(self) -> bool:
        """Whether it is enabled."""

    @property
    def processor_priority(self) -> int:
        """The priority of what its processor is doing."""

    def matches_physical(self, destination: int) -> bool:
        """Whether a physical destination names it, perhaps with all others."""

    def matches_logical(self, destination: int) -> bool:
        """Whether a logical destination names it."""

    def raise_vector(self, vector: int) -> None:
        """Make a vector pending."""

    def nmi(self) -> None:
        """Take an NMI."""

    def init(self) -> None:
        """Take an INIT."""

    def startup(self, page: int) -> None:
        """Take a start-up IPI."""


def is_illegal(command: int) -> bool:
    """Whether a command names a vector that no APIC delivers."""
    mode = command >> 8 & 7
    return mode in (Delivery.FIXED, Delivery.LOWEST_PRIORITY) and (
        command & VECTOR < FIRST_VALID_VECTOR
    )


def send_ipi(
    sender: IpiTarget, lapics: Sequence[IpiTarget], command: int, destination: int
) -> None:
    """Carry out the low word of an interrupt command, which is not illegal."""
    targets = _targets(sender, lapics, command, destination)
    vector = command & VECTOR
    match command >> 8 & 7:
        case Delivery.FIXED:
            for lapic in targets:
                if lapic.accepts_interrupts:
                    lapic.raise_vector(vector)
        case Delivery.LOWEST_PRIORITY:
            ready = [lapic for lapic in targets if lapic.accepts_interrupts]
            if ready:
                min(ready, key=lambda lapic: lapic.processor_priority).raise_vector(vector)
        case Delivery.NMI:
            for lapic in targets:
                lapic.nmi()
        case Delivery.INIT:
            # Its level de-assert does nothing since the Pentium 4.
            if command & (_ASSERT | _LEVEL) != _LEVEL:
                for lapic in targets:
                    lapic.init()
        case Delivery.STARTUP:
            for lapic in targets:
                lapic.startup(vector)


def _targets(
    sender: IpiTarget, lapics: Sequence[IpiTarget], command: int, destination: int
) -> list[IpiTarget]:
    match command >> 18 & 3:
        case 1:
            return [sender]
        case 2:
            return list(lapics)
        case 3:
            return [lapic for lapic in lapics if lapic is not sender]
    if command & _LOGICAL:
        return [lapic for lapic in lapics if lapic.matches_logical(destination)]
    return [lapic for lapic in lapics if lapic.matches_physical(destination)]
