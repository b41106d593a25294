"""The KVM engine for PV vCPUs: ring 3 runs on the processor by the guest's own page tables, ring 0 is stubs.

Machine frame n of the domain is at guest-physical address n * 4096; the engine's own memory lies above them all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import api
from xenolith.engine.kvm.device import KvmDevice, Leaf
from xenolith.engine.kvm.host_tsc import tsc_reader
from xenolith.engine.kvm.kick import Kicker, take_kicks
from xenolith.engine.kvm.processor import DIRECT_MSRS, UnreachableMemoryError
from xenolith.engine.kvm.pv import reserved_area
from xenolith.engine.kvm.pv.extended_state import ExtendedState
from xenolith.engine.kvm.pv.host_cpu import host_leaf, supported_leaf
from xenolith.engine.kvm.pv.reserved_area import M2P_START, ReservedArea
from xenolith.engine.kvm.pv.ring_3 import Ring3
from xenolith.engine.kvm.pv.traps import (
    COUNTERS,
    REASON_ERRNO,
    KvmTrapContext,
    TooManyChangesCallback,
    load_run,
)
from xenolith.engine.kvm.pv.vcpu import KvmPvVcpu
from xenolith.engine.pv import NativeCalls, TrapHandler
from xenolith.engine.pv_traps.calls import TrapCalls
from xenolith.engine.pv_traps.code import PrivateRange, TrapCode
from xenolith.engine.table_changes import TableChanges
from xenolith.machine.address import PAGE_SIZE, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

_GIB = 1 << 30


class KvmPvEngine:
    """One domain's engine, over its memory; all of it but :meth:`kick` belongs to one thread."""

    m2p_start = M2P_START

    def __init__(self, device: KvmDevice, memory: MachineMemory, ring_3: Ring3) -> None:
        self._memory = memory
        base = -(-memory.size // _GIB) * _GIB
        self.area = area = ReservedArea(base, memory.frames)
        self.m2p = area.m2p
        self.m2p_end: GuestVirt = area.m2p_end
        self._answers_cpuid = ring_3.answers_cpuid
        self._leaf = supported_leaf(device) if ring_3.answers_cpuid else host_leaf
        self.extended_state = ExtendedState(self._leaf, ring_3)
        self.xcr0 = self.extended_state.features
        self.machine = machine = device.create_machine()
        machine.report_msrs(DIRECT_MSRS)
        self._memory_slot = machine.add_slot(0, memory.size, memory.address)
        machine.add_slot(base, area.memory.size, area.memory.address)
        self.changes = None if ring_3.follows_tables else TableChanges()
        self._context = KvmTrapContext(
            trap_stubs=reserved_area.TRAP_STUBS,
            call_stubs=reserved_area.CALL_STUBS,
            moves_rip=int(ring_3.moves_rip),
            on_too_many_changes=TooManyChangesCallback(self._drop_copies),
            changes=self.changes.address if self.changes is not None else None,
            rewriting=area.rewriting,
            rewriting_address=reserved_area.REWRITING,
            rewriting_size=reserved_area.REWRITING_PAGES * PAGE_SIZE,
            all_memory=reserved_area.ALL_MEMORY,
        )
        self._calls = TrapCalls(self.stop)
        private = PrivateRange(base, area.memory.size, area.memory.address)
        self.code = TrapCode(load_run(), self._context, memory, private, self._calls)
        self._current: KvmPvVcpu | None = None
        self._vcpus: list[KvmPvVcpu] = []
        self._kicker = Kicker()
        self._read_tsc = tsc_reader()
        take_kicks()

    def new_vcpu(self, handler: TrapHandler) -> KvmPvVcpu:
        """See PvEngine."""
        vcpu = KvmPvVcpu(self, handler, len(self._vcpus))
        self._vcpus.append(vcpu)
        return vcpu

    def fill_reserved_slots(self, level4: Mfn) -> None:
        """See PvEngine."""
        self.area.fill_slots(self._memory.frame(level4).cast("Q"))

    def flush_tlb(self) -> None:
        """See PvEngine."""
        self._context.flushes += 1

    def invalidate_page(self, _address: GuestVirt) -> None:
        """See PvEngine."""
        self._context.flushes += 1

    def call_natively(self, calls: NativeCalls | None) -> None:
        """See PvEngine."""
        self.code.call_natively(calls)

    def run(self, vcpu: KvmPvVcpu) -> None:
        """Run one of the engine's own vCPUs."""
        self._enter(vcpu)
        self._kicker.enter()
        try:
            reason = self.code.call(vcpu.state, "xenolith_kvm_pv_run")
        finally:
            self._kicker.leave()
        self._calls.raise_failure()
        if reason == REASON_ERRNO + errno.EFAULT:
            raise UnreachableMemoryError
        if reason >= REASON_ERRNO:
            raise EngineError(f"KVM cannot run the guest: {os.strerror(reason - REASON_ERRNO)}")
        if reason:
            raise vcpu.processor.failure()

    def stop(self) -> None:
        """See PvEngine."""
        self._context.stopping = 1

    def kick(self) -> None:
        """See PvEngine."""
        if self._context.stopping:
            # It has been kicked; more would only keep it from its next stop, where a trap takes long.
            return
        self._context.stopping = 1
        vcpu = self._current
        if vcpu is not None:
            vcpu.run_page.immediate_exit = 1
        self._kicker.kick()

    def invalidate_code(self, mfn: Mfn, count: int) -> None:
        """See PvEngine: processors follow changes of code."""

    def forget_code(self) -> None:
        """See Engine: there is nothing to forget."""

    def tsc(self) -> int:
        """See PvEngine."""
        return self._read_tsc()

    def base_cpuid(self, leaf: int, subleaf: int) -> Leaf:
        """See PvEngine."""
        return self._leaf(leaf, subleaf)

    def leaves(self, handler: TrapHandler) -> Iterator[tuple[int, int, int, Leaf]]:
        """What a vCPU's CPUID returns where it is not a trap: as KVM_SET_CPUID2 takes it."""
        supported = self.machine.device.supported_cpuid
        indexed = {leaf for leaf, subleaf in supported if subleaf}
        for leaf, subleaf in supported:
            flags = api.KVM_CPUID_FLAG_SIGNIFCANT_INDEX if leaf in indexed else 0
            registers = handler.cpuid(leaf, subleaf)
            if not leaf and not self._answers_cpuid:
                # Whom nobody asks need not be AMD: for its processors KVM emulates SYSCALL in 32-bit code, and
                # sends ring 0 to the lower half of the address.
                registers = registers[0], 0, 0, 0
            yield leaf, subleaf, flags, registers

    def counts(self) -> dict[str, int]:
        """How often what has happened, by COUNTERS."""
        return dict(zip(COUNTERS, self._context.counts, strict=True))

    def close(self) -> None:
        """Release the machine; neither the engine nor its vCPUs may be used afterwards."""
        self._current = None
        for vcpu in self._vcpus:
            vcpu.processor.close()
        self.machine.close()

    def _enter(self, vcpu: KvmPvVcpu) -> None:
        vcpu.run_page.immediate_exit = 0
        self._context.stopping = 0
        self._calls.handler = vcpu.handler
        self.code.run_with(vcpu.state)
        is_other = self._current is not vcpu
        self._current = vcpu
        if vcpu.initial is not None:
            vcpu.enter()
        elif is_other:
            vcpu.go_on_after_another()

    def _drop_copies(self) -> None:
        """All of KVM's page tables go with a slot."""
        machine = self.machine
        machine.remove_slot(self._memory_slot)
        self._memory_slot = machine.add_slot(0, self._memory.size, self._memory.address)
