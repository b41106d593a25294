"""The C code of an engine, bound to the memory of one machine and to the handlers of its vCPUs."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import NativeCalls
from xenolith.engine.pv_traps.calls import TrapCalls
from xenolith.engine.pv_traps.structures import (
    CrashCallback,
    FaultCallback,
    HypercallCallback,
    TrapContext,
    VcpuState,
)
from xenolith.machine.memory import MachineMemory


class PrivateRange(NamedTuple):
    """Memory that an engine keeps for itself: its machine address, its size in bytes, where the host has it."""

    base: int
    size: int
    host_address: int


class TrapCode:
    """Calls its functions; it fills in the part of the context that all engines have."""

    def __init__(
        self,
        library: ctypes.CDLL,
        context: TrapContext,
        memory: MachineMemory,
        private: PrivateRange,
        calls: TrapCalls,
    ) -> None:
        context.memory, context.memory_size = memory.address, memory.size
        context.private_base, context.private_size, context.private_memory = private
        context.on_hypercall = HypercallCallback(calls.on_hypercall)
        context.on_fault = FaultCallback(calls.on_fault)
        context.on_crash = CrashCallback(calls.on_crash)
        self.context_address = ctypes.addressof(context)
        """The context lives as long as this object."""
        self._context = context
        self._library = library
        self._memory = memory

    def call(self, vcpu: VcpuState, name: str, *arguments: int) -> int:
        """Call a function about a vCPU that stands still, whichever is the one that runs."""
        context = self._context
        before = context.vcpu
        context.vcpu = ctypes.addressof(vcpu)
        result: int = getattr(self._library, name)(self.context_address, *arguments)
        context.vcpu = before
        return result

    def run_with(self, vcpu: VcpuState) -> None:
        """The vCPU is the one that runs from now on."""
        self._context.vcpu = ctypes.addressof(vcpu)

    def call_natively(self, calls: NativeCalls | None) -> None:
        """See PvEngine."""
        context = self._context
        context.native_hypercall = calls.hypercall if calls is not None else None
        context.native_store = calls.store if calls is not None else None
        context.native_self = calls.self if calls is not None else None

    def host_address(self, machine_address: int) -> int:
        """Where the host has a byte of the domain's memory; EngineError outside it."""
        if not 0 <= machine_address < self._memory.size:
            raise EngineError(f"there is no memory at machine address {machine_address:#x}")
        return self._memory.address + machine_address
