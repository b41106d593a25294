"""A domain's system time: nanoseconds since its start, computed from the TSC as the guest computes it.

Hypervisor and guest use the same scale (struct vcpu_time_info of public/xen.h), so a deadline that a guest
computes means the same moment here, and time never jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from xenolith.abi.xen import (
    VCPU_INFO,
    VCPU_TIME_INFO,
    XEN_PVCLOCK_TSC_STABLE_BIT,
    VcpuTimeInfo,
)
from xenolith.machine import tsc

_TIME_OFFSET = VCPU_INFO.offsets["time"]
_NANOSECONDS = 1_000_000_000


class SystemTime:
    """The clock of one domain over the TSC that ``read_tsc`` returns."""

    def __init__(self, read_tsc: Callable[[], int]) -> None:
        self._read_tsc = read_tsc
        self.tsc_hz = int(tsc.frequency(read_tsc))
        self._multiplier, self._shift = _scale(self.tsc_hz)
        self._origin = read_tsc()
        self._info = VcpuTimeInfo(
            version=2,
            pad0=0,
            tsc_timestamp=self._origin,
            system_time=0,
            tsc_to_system_mul=self._multiplier,
            tsc_shift=self._shift,
            flags=XEN_PVCLOCK_TSC_STABLE_BIT,
        )
        self.wall_clock_origin_ns = time.time_ns()
        """The wall clock (ns since the Epoch) at system time 0."""

    def now(self) -> int:
        """The system time in ns."""
        delta = self._read_tsc() - self._origin
        if self._shift < 0:
            delta >>= -self._shift
        else:
            delta <<= self._shift
        return delta * self._multiplier >> 32

    def publish(self, vcpu_info: memoryview) -> None:
        """Write the clock into a vcpu_info. It never changes, so the version is always even."""
        VCPU_TIME_INFO.pack_into(vcpu_info, _TIME_OFFSET, self._info)

    def time_info(self) -> bytes:
        """A struct vcpu_time_info, for a secondary time area."""
        return VCPU_TIME_INFO.pack(self._info)


def _scale(tsc_hz: int) -> tuple[int, int]:
    """tsc_to_system_mul and tsc_shift: ns = (ticks << shift) * mul >> 32, mul in 32 bits."""
    shift = 0
    ratio = _NANOSECONDS / tsc_hz
    while ratio >= 1:
        ratio /= 2
        shift += 1
    while ratio < 0.5:
        ratio *= 2
        shift -= 1
    return min(int(ratio * (1 << 32)), (1 << 32) - 1), shift
