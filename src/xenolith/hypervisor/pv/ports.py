"""The I/O ports of a PV domain, of which it was given none: what reading and writing them does all the same.

As guest_io_read and guest_io_write of xen/arch/x86/pv/emul-priv-op.c for a domain without devices.
"""

from __future__ import annotations

_PIT_CHANNEL_2 = 0x42
_CMOS_INDEX = 0x70
_PCI_CONFIG_ADDRESS = 0xCF8
_WORD = 4


class Ports:
    """Two registers keep what is written to them; every other line is high."""

    def __init__(self) -> None:
        self._cmos_index = 0
        self._config_address = 0

    def read(self, port: int, size: int) -> int:
        """What IN of ``size`` bytes finds."""
        if port == _PCI_CONFIG_ADDRESS and size == _WORD:
            return self._config_address
        return sum(self._byte(port + index) << 8 * index for index in range(size))

    def write(self, port: int, size: int, value: int) -> None:
        """Take what OUT sends, or drop it."""
        if port == _PCI_CONFIG_ADDRESS and size == _WORD:
            self._config_address = value
        elif port <= _CMOS_INDEX < port + size:
            self._cmos_index = value >> 8 * (_CMOS_INDEX - port) & 0xFF

    def _byte(self, port: int) -> int:
        if port == _CMOS_INDEX:
            return self._cmos_index
        # A timer that stands still: Linux gives up on it at once, but reads one whose lines are high,
        # as they are on Xen, 50,000 times.
        return 0 if port == _PIT_CHANNEL_2 else 0xFF
