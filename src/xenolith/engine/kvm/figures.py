"""What this host's KVM is good for, in figures, and which guests it suits."""

from __future__ import annotations

from typing import NamedTuple

from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.measure import NATIVE_RATE, ring_0_rate
from xenolith.engine.kvm.pv.measure import measure_ring_3, trap_seconds
from xenolith.engine.kvm.pv.ring_3 import Ring3

_CHEAP_TRAP_S = 10e-6
"""Unicorn's take under a microsecond, but its instructions 10 to 30 times as long as the processor's."""


class KvmFigures(NamedTuple):
    """Measured on this host."""

    ring_0_rate: float
    """Instructions a second in ring 0."""
    trap_s: float
    """Seconds that a trap out of ring 3 and back takes."""
    ring_3: Ring3
    has_xen: bool
    """VMMCALL and VMCALL come to the hypervisor (KVM_CAP_XEN_HVM)."""

    @property
    def suits_hvm(self) -> bool:
        """Whether kernels that run in ring 0, as they come today, run there, and faster than on Unicorn."""
        return self.ring_0_rate > NATIVE_RATE and self.has_xen

    @property
    def suits_pv(self) -> bool:
        """Whether PV guests of all kinds run faster there than on Unicorn."""
        return self.trap_s < _CHEAP_TRAP_S and self.ring_3.answers_cpuid

    def __str__(self) -> str:
        kind = "native" if self.ring_0_rate > NATIVE_RATE else "emulated"
        xen = "" if self.has_xen else ", without Xen's hypercalls"
        return (
            f"ring 0 {kind}, {self.ring_0_rate / 1e6:.1f} million instructions/s{xen}; "
            f"ring 3 native, {self.trap_s * 1e6:.1f} us a trap"
        )


def measure(device: KvmDevice) -> KvmFigures:
    """Find out, on the main thread, in some milliseconds; EngineError if it is good for nothing."""
    return KvmFigures(
        ring_0_rate(device), trap_seconds(device), measure_ring_3(device), device.has_xen
    )
