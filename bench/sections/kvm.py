"""What this host's KVM is good for: its speed in kernel mode, and what an exit to Python costs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.contest import Contest
from bench.figure import Figure
from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.measure import processor_at, ring_0_rate

_HALT_FOR_EVER = b"\xf4" + b"\xeb\xfd"
"""1: hlt; jmp 1b"""
_SAMPLES, _EXITS = 5, 1000


def measure(_contest: Contest) -> Iterator[Figure]:
    """Nothing where there is no KVM to use."""
    try:
        device = KvmDevice.open()
    except EngineError:
        return
    rates = [ring_0_rate(device) / 1e6 for _ in range(_SAMPLES)]
    yield Figure("kvm, instructions in ring 0", "M/s", rates)
    yield Figure("kvm, exit by HLT and back", "us", [_exit_us(device) for _ in range(_SAMPLES)])


def _exit_us(device: KvmDevice) -> float:
    with processor_at(device, _HALT_FOR_EVER) as processor:
        begin = time.perf_counter()
        for _ in range(_EXITS):
            processor.enter()
        return (time.perf_counter() - begin) / _EXITS * 1e6
