"""An HVM or PVH domain: a translated physical map, LAPICs, and parameters that guest and toolstack share."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.sched import ShutdownReason
from xenolith.engine.hvm import CpuState, GuestException, HvmEngine, Segment, Vector
from xenolith.hypervisor.domain import Domain, DomainEvents, DomainParameters
from xenolith.hypervisor.domain_memory import XEN_FRAMES, DomainMemory
from xenolith.hypervisor.hvm.apic_base import APIC_BASE_ADDRESS
from xenolith.hypervisor.hvm.hypercall_page import hypercall_page
from xenolith.hypervisor.hvm.lapic import LocalApic
from xenolith.hypervisor.hvm.params import HvmParams
from xenolith.hypervisor.hvm.vcpu import HvmVcpu
from xenolith.hypervisor.hvm.xapic_page import XapicPage
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys
from xenolith.machine.memory import MachineMemory

EngineFactory = Callable[[int], tuple[MachineMemory, HvmEngine]]
"""Makes the memory of a domain, of so many frames, and the engine over it."""

_RINGS = {HvmParam.CONSOLE_EVTCHN: "console", HvmParam.STORE_EVTCHN: "xenstore"}

_REAL_MODE_CODE = 0x9B
_REAL_MODE_DATA = Segment(0, 0x93, 0xFFFF, 0)


class HvmDomain(Domain):
    """A domain whose vCPUs have all of a processor."""

    memory: DomainMemory
    engine: HvmEngine
    vcpus: list[HvmVcpu]

    def __init__(
        self, parameters: DomainParameters, new_engine: EngineFactory, events: DomainEvents
    ) -> None:
        ram_frames = sum(count for _, count in parameters.ram)
        machine, engine = new_engine(ram_frames + XEN_FRAMES)
        memory = DomainMemory(machine, engine, parameters.ram)
        vcpus: list[HvmVcpu] = []
        super().__init__(parameters, engine, memory, vcpus, events)
        self.p2m = memory.p2m
        self.p2m.is_pinned = self.grants.is_pinned
        self.callback_vector = 0
        self.params = HvmParams(self._set_callback_vector)
        self.lapics: list[LocalApic] = []
        if parameters.max_vcpus > 1:
            engine.intercept_pause()
        for vcpu_id in range(parameters.max_vcpus):
            vcpus.append(HvmVcpu(self, vcpu_id, self.legacy_vcpu_info(vcpu_id)))
            self.lapics.append(vcpus[-1].lapic)
        engine.map_mmio(GuestPhys(APIC_BASE_ADDRESS), XapicPage(self._current_lapic))

    def ring_name(self, port: int) -> str | None:
        """See Domain."""
        for param, ring in _RINGS.items():
            if self.params.get(param) == port:
                return ring
        return None

    def write_hypercall_page(self, value: int) -> None:
        """Fill a page with hypercall stubs: a guest has written its address to the hypercall MSR."""
        gfn = Gfn(value >> PAGE_SHIFT)
        page = hypercall_page(self.engine.hypercall_instruction)
        if value & PAGE_SIZE - 1 or not self.memory.fill_code_page(gfn, page):
            raise GuestException(Vector.GP)

    def triple_fault(self, vcpu: HvmVcpu) -> None:
        """Shut down for the reason that HVM_PARAM_TRIPLE_FAULT_REASON names."""
        reason = ShutdownReason(self.params.get(HvmParam.TRIPLE_FAULT_REASON))
        self.log(f"d{self.domid}v{vcpu.id}: triple fault, invoking {reason.name}")
        self.shut_down(reason)

    def interrupt(self, lapic: LocalApic) -> None:
        """A vector became pending in a LAPIC."""
        self.scheduler.wake(self._owner(lapic))

    def nmi(self, lapic: LocalApic) -> None:
        """Deliver an NMI, which gets a vCPU out of a halt with interrupts off, that being down."""
        vcpu = self._owner(lapic)
        vcpu.nmi()
        if vcpu.initialised and not vcpu.is_up:
            self.scheduler.bring_up(vcpu)

    def init(self, lapic: LocalApic) -> None:
        """INIT: the vCPU goes down until a start-up IPI; the last to go down powers the domain off."""
        self._owner(lapic).reset()

    def startup(self, lapic: LocalApic, page: int) -> None:
        """Start-up: real mode at ``page`` << 12, if the vCPU waits for it."""
        vcpu = self._owner(lapic)
        if vcpu.initialised:
            return
        vcpu.start(
            CpuState(
                cr0=0x10,
                cs=Segment(page << 8, _REAL_MODE_CODE, 0xFFFF, page << 12),
                ds=_REAL_MODE_DATA,
                es=_REAL_MODE_DATA,
                ss=_REAL_MODE_DATA,
            )
        )

    def _current_lapic(self) -> LocalApic:
        vcpu = self.scheduler.current
        assert isinstance(vcpu, HvmVcpu)
        return vcpu.lapic

    def _owner(self, lapic: LocalApic) -> HvmVcpu:
        return self.vcpus[lapic.apic_id // 2]

    def _set_callback_vector(self, vector: int) -> None:
        self.callback_vector = vector
