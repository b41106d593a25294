"""CPUID and XCR0 of the processor, as ring 3 has them where nobody stands between."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from xenolith.engine.kvm.device import KvmDevice, Leaf
from xenolith.engine.kvm.pv.traps import load_run

LeafSource = Callable[[int, int], Leaf]


def host_leaf(leaf: int, subleaf: int) -> Leaf:
    """EAX, EBX, ECX and EDX as the processor returns them."""
    registers = (ctypes.c_uint32 * 4)()
    load_run().xenolith_kvm_host_cpuid(leaf, subleaf, registers)
    eax, ebx, ecx, edx = registers
    return eax, ebx, ecx, edx


def host_xcr0() -> int:
    """What of its state XSAVE saves; the processor must have that."""
    value: int = load_run().xenolith_kvm_host_xcr0()
    return value


def supported_leaf(device: KvmDevice) -> LeafSource:
    """What KVM can have a leaf return."""
    supported = device.supported_cpuid
    return lambda leaf, subleaf: supported.get((leaf, subleaf), (0, 0, 0, 0))
