"""How fast this host's KVM runs a guest's kernel: there are hosts whose KVM emulates ring 0.

Those run programs natively and kernels a thousand times slower, so that the existence of /dev/kvm says nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xenolith.engine.hvm import FLAT_CODE_32, FLAT_DATA_32, TASK_32, EngineError
from xenolith.engine.kvm import api
from xenolith.engine.kvm.device import KvmDevice
from xenolith.engine.kvm.processor import Processor
from xenolith.engine.kvm.segments import load_segment
from xenolith.machine.address import PAGE_SIZE
from xenolith.machine.memory import MachineMemory

NATIVE_RATE = 20e6
"""Instructions a second in ring 0: above, the processor itself executes them."""

_ITERATIONS, _ITERATIONS_IF_NATIVE = 500, 500_000
_LOOP_AND_HALT = b"\xff\xc9" + b"\x75\xfc" + b"\xf4" + b"\xeb\xf9"
"""1: dec ecx; jnz 1b; hlt; jmp 1b"""
_INSTRUCTIONS = 2 * _ITERATIONS
_RUNS = 3
_SHORTEST_S = 1e-6
"""Less than what a loop of that length takes where it is emulated, by a factor of hundreds."""
_PATIENCE_S = 0.05
_RFLAGS, _PROTECTED_MODE = 2, 0x11


def ring_0_rate(device: KvmDevice) -> float:
    """Instructions a second of a loop in protected mode; EngineError.

    On the main thread only, whose alarm it uses. The loop takes under 1 ms where it is emulated.
    Entry and exit are not counted: where KVM is itself a guest, they take longer than the loop.
    """
    with processor_at(device, _LOOP_AND_HALT) as processor:
        entry_and_exit = min(_seconds(processor, 1) for _ in range(_RUNS))
        loop = min(_seconds(processor, _ITERATIONS) for _ in range(_RUNS))
        rate = _INSTRUCTIONS / max(loop - entry_and_exit, _SHORTEST_S)
        if rate < NATIVE_RATE:
            return rate
        # One that takes so long that the others' time does not matter.
        return 2 * _ITERATIONS_IF_NATIVE / _seconds(processor, _ITERATIONS_IF_NATIVE)


def _seconds(processor: Processor, iterations: int) -> float:
    processor.run.s.regs.rcx = iterations
    processor.mark_all_registers()
    begin = time.perf_counter()
    reason = _enter_for_a_moment(processor)
    took = time.perf_counter() - begin
    if reason != api.KVM_EXIT_HLT:
        raise processor.failure()
    return took


@contextmanager
def processor_at(device: KvmDevice, code: bytes) -> Iterator[Processor]:
    """A machine's one vCPU, about to execute some code in protected mode, without paging."""
    memory = MachineMemory(1)
    memory.write(0, code)
    machine = device.create_machine()
    try:
        machine.add_slot(0, PAGE_SIZE, memory.address)
        processor = Processor(machine, 0)
        try:
            special = processor.run.s.sregs
            processor.run.s.regs.rflags = _RFLAGS
            load_segment(special.cs, FLAT_CODE_32)
            for name in ("ds", "es", "fs", "gs", "ss"):
                load_segment(getattr(special, name), FLAT_DATA_32)
            load_segment(special.tr, TASK_32)
            special.ldt.unusable = 1
            special.cr0 = _PROTECTED_MODE
            processor.mark_all_registers()
            yield processor
        finally:
            processor.close()
    finally:
        machine.close()


def _enter_for_a_moment(processor: Processor) -> int:
    """Run until an exit, which must come soon: nothing may hang on a host whose KVM is broken."""
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
    try:
        return processor.enter()
    except InterruptedError:
        raise EngineError(f"KVM does not get through {_INSTRUCTIONS} instructions") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
