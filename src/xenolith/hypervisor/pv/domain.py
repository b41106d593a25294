"""A PV domain: machine frames with types, page tables that are checked, and vCPUs in ring 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import VCPU_INFO
from xenolith.engine.pv import PvEngine
from xenolith.hypervisor.domain import Domain, DomainEvents, DomainParameters, Tracer
from xenolith.hypervisor.pv.memory import XEN_FRAMES, PvMemory
from xenolith.hypervisor.pv.native_mmu import NativeMmu
from xenolith.hypervisor.pv.page_table import PageTables
from xenolith.hypervisor.pv.page_type import PageType, PageTypes
from xenolith.hypervisor.pv.ports import Ports
from xenolith.hypervisor.pv.register_dump import register_dump
from xenolith.hypervisor.pv.vcpu import PvVcpu
from xenolith.hypervisor.release import XEN_MAJOR, XEN_MINOR
from xenolith.machine.address import PAGE_SHIFT, Mfn
from xenolith.machine.memory import MachineMemory

EngineFactory = Callable[[int], tuple[MachineMemory, PvEngine]]
"""Makes the memory of a domain, of so many frames, and the engine over it."""


class PvDomain(Domain):
    """A domain whose kernel asks the hypervisor for everything."""

    memory: PvMemory
    engine: PvEngine
    vcpus: list[PvVcpu]

    def __init__(
        self, parameters: DomainParameters, new_engine: EngineFactory, events: DomainEvents
    ) -> None:
        ram_frames = sum(count for _, count in parameters.ram)
        machine, engine = new_engine(ram_frames + XEN_FRAMES)
        self.types = PageTypes(machine.frames, engine.flush_tlb)
        self._native_mmu = NativeMmu(
            machine,
            self.types,
            XEN_MAJOR << 16 | XEN_MINOR,
            engine.changes,
        )
        self.page_tables = PageTables(
            machine, self.types, engine.fill_reserved_slots, self._native_mmu, engine.changes
        )
        engine.call_natively(self._native_mmu.calls)
        memory = PvMemory(machine, engine, self.types, ram_frames)
        vcpus: list[PvVcpu] = []
        super().__init__(parameters, engine, memory, vcpus, events)
        self.types.is_granted = self.grants.is_pinned
        self.types.hide_local_tables = self._hide_local_tables
        self._no_info = memory.allocate_frame()
        memory.types.remove(self._no_info)
        self.ports = Ports()
        self.rings: dict[int, str] = {}
        """The domain's own rings by their ports: ``console`` and ``xenstore``."""
        for vcpu_id in range(parameters.max_vcpus):
            vcpus.append(PvVcpu(self, vcpu_id, self.legacy_vcpu_info(vcpu_id)))

    def trace(self, tracer: Tracer | None) -> None:
        """See Domain. What is done natively would not be seen."""
        super().trace(tracer)
        self.engine.call_natively(self._native_mmu.calls if tracer is None else None)

    def shut_down(self, reason: ShutdownReason) -> None:
        """See Domain."""
        if self.shutdown_reason is None and (counts := self.engine.counts()):
            told = ", ".join(f"{count} {what}" for what, count in counts.items())
            self.log(f"d{self.domid}: {told}")
        super().shut_down(reason)

    def ring_name(self, port: int) -> str | None:
        """See Domain."""
        return self.rings.get(port)

    def show_info(self, vcpu: PvVcpu) -> None:
        """Tell the engine where a new vCPU's vcpu_info is; its events are masked at first."""
        mask = VCPU_INFO.offsets["evtchn_upcall_mask"]
        if vcpu.info is None:
            address = self._no_info << PAGE_SHIFT
            self.memory.frame(self._no_info)[mask] = 1
        else:
            address = (self.shared_info_mfn << PAGE_SHIFT) + vcpu.id * VCPU_INFO.size
            vcpu.info[mask] = 1
        vcpu.engine_vcpu.use_info(address)

    @contextmanager
    def writable_frame(self, mfn: int) -> Iterator[memoryview]:
        """A view of a frame that the guest could write, too; XenError(EINVAL) if it could not."""
        self.types.get(mfn, PageType.WRITABLE)
        try:
            yield self.memory.frame(Mfn(mfn))
        finally:
            self.types.put(mfn)

    def _hide_local_tables(self) -> None:
        for vcpu in self.vcpus:
            vcpu.ldt.hide()

    def crash_vcpu(self, vcpu: PvVcpu, why: str) -> None:
        """A vCPU cannot go on: crash the domain, its registers in the log."""
        if self.shutdown_reason is not None:
            return
        for line in register_dump(vcpu):
            self.log(f"d{self.domid}v{vcpu.id}: {line}")
        self.crash(f"vCPU {vcpu.id}: {why}")
