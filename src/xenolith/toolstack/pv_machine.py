"""A PV domain as its process runs it: the hypervisor's domain, built from a kernel, with its backends."""

from __future__ import annotations

from xenolith.abi.arch_x86_pv import FLAT_RING3_CS64, FLAT_RING3_SS64
from xenolith.abi.hvm_start_info import MemmapType
from xenolith.abi.memory import E820Entry
from xenolith.abi.sched import ShutdownReason
from xenolith.builder.errors import BuildError
from xenolith.builder.pv import PvPlatform, PvStart, load_pv, plan_pv
from xenolith.engine.choice import EngineName, pv_engine_maker
from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import PvCpuState
from xenolith.hypervisor.pv.domain import PvDomain
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SHIFT, Gfn, GuestPhys, Mfn
from xenolith.toolstack.core_dump import MemoryStretch
from xenolith.toolstack.domain_machine import (
    KIB_PER_PAGE,
    DomainMachine,
    ProcessEvents,
    domain_parameters,
)
from xenolith.toolstack.machine import Assignment, CoreMemory, MachineEvents

_MIB = 1 << 20


class PvMachine(DomainMachine[PvDomain]):
    """Implements toolstack.machine.Machine over a hypervisor.pv.domain.PvDomain."""

    def __init__(self, assignment: Assignment, events: MachineEvents) -> None:
        config = assignment.config
        if assignment.kernel is None:
            raise BuildError("a PV domain needs a kernel: set kernel=")
        frames, most = (size * _MIB >> PAGE_SHIFT for size in (config.memory, config.maxmem))
        image = plan_pv(assignment.kernel, assignment.ramdisk, frames)
        new_engine = pv_engine_maker(EngineName(config.engine))
        try:
            domain = PvDomain(
                domain_parameters(assignment, ((Gfn(0), most),)), new_engine, ProcessEvents(events)
            )
        except EngineError as error:
            raise BuildError(f'engine="{config.engine}" cannot be used: {error}') from None
        super().__init__(domain, events)
        memory = domain.memory
        memory.withhold(most - frames)
        events.status.set_memory(memory.populated * KIB_PER_PAGE)
        memory.on_populated = lambda populated: events.status.set_memory(populated * KIB_PER_PAGE)
        domain.memory_map = (E820Entry(0, config.maxmem * _MIB, MemmapType.RAM),)
        first = memory.first_ram
        memory.number_frames(frames)
        console, xenstore = self._connect_rings(
            Gfn(first + image.layout.console), Gfn(first + image.layout.xenstore)
        )
        domain.rings = {console: "console", xenstore: "xenstore"}
        platform = PvPlatform(frames, first, domain.shared_info_mfn, console, xenstore)
        command_line = (config.cmdline or "").encode()
        start = load_pv(image, platform, memory, assignment.ramdisk, command_line)
        self._start_first_vcpu(start)

    def trigger(self, name: str, vcpu: int) -> None:
        """See Machine."""
        vcpus = self._domain.vcpus
        if not 0 <= vcpu < len(vcpus):
            raise ValueError(f"there is no vCPU {vcpu}")
        match name:
            case "nmi":
                vcpus[vcpu].nmi()
            case "reset":
                self._domain.shut_down(ShutdownReason.reboot)
            case _:
                raise ValueError(f"a PV domain has no {name} trigger")

    def core_memory(self) -> CoreMemory:
        """See Machine."""
        memory = self._domain.memory
        start, size = memory.first_ram << PAGE_SHIFT, memory.ram_frames << PAGE_SHIFT
        return CoreMemory(memory.machine.fd, [MemoryStretch(GuestPhys(0), start, size)])

    def _start_first_vcpu(self, start: PvStart) -> None:
        domain = self._domain
        root = Mfn(domain.memory.first_ram + start.root)
        domain.types.pin(root, PageType.L4)
        vcpu = domain.vcpus[0]
        vcpu.start_with(
            PvCpuState(
                rip=start.entry,
                rsp=start.stack,
                cs=FLAT_RING3_CS64,
                ss=FLAT_RING3_SS64,
                kernel_root=root,
                kernel_stack=start.stack,
                general={"rsi": start.start_info},
            )
        )
        domain.scheduler.bring_up(vcpu)
