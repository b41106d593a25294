"""The page of the xAPIC's registers: one address, behind which each vCPU finds its own.

Intel SDM volume 3, section 11.4.1.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.hypervisor.hvm.lapic import LocalApic

_REGISTER_BYTES = 4
_REGISTER_DISTANCE = 16


class XapicPage:
    """An engine.hvm.MmioHandler; ``current`` is the local APIC of the vCPU that runs.

    Like some processors, and like Xen, it allows accesses to parts of a register.
    """

    def __init__(self, current: Callable[[], LocalApic]) -> None:
        self._current = current

    def read(self, offset: int, size: int) -> int:
        """A load; all ones where the APIC is not in xAPIC mode, as there is nothing then."""
        lapic = self._current()
        everything = (1 << 8 * size) - 1
        if not lapic.xapic:
            return everything
        within = offset % _REGISTER_DISTANCE
        if within + size > _REGISTER_BYTES:
            return 0
        return lapic.read_register(offset - within) >> 8 * within & everything

    def write(self, offset: int, size: int, value: int) -> None:
        """A store."""
        lapic = self._current()
        within = offset % _REGISTER_DISTANCE
        if not lapic.xapic or within + size > _REGISTER_BYTES:
            return
        if size < _REGISTER_BYTES:
            written = (1 << 8 * size) - 1 << 8 * within
            value = lapic.read_register(offset - within) & ~written | value << 8 * within & written
        lapic.write_register(offset - within, value)
