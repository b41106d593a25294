"""A PVH domain as its process runs it: the hypervisor's domain, built from a kernel, with its backends."""

from __future__ import annotations

from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.hvm_start_info import MemmapType
from xenolith.abi.memory import E820Entry
from xenolith.abi.sched import ShutdownReason
from xenolith.builder.errors import BuildError
from xenolith.builder.memory_map import ram_ranges
from xenolith.builder.pvh import PvhPlatform, load_pvh, pvh_platform
from xenolith.engine.choice import EngineName, hvm_engine_maker
from xenolith.engine.hvm import CpuState, EngineError
from xenolith.hypervisor.hvm.domain import HvmDomain
from xenolith.machine.address import PAGE_SHIFT, Gfn, GuestPhys
from xenolith.toolstack.core_dump import MemoryStretch
from xenolith.toolstack.domain_machine import (
    KIB_PER_PAGE,
    DomainMachine,
    ProcessEvents,
    domain_parameters,
)
from xenolith.toolstack.machine import Assignment, CoreMemory, MachineEvents

_MIB = 1 << 20


class PvhMachine(DomainMachine[HvmDomain]):
    """Implements toolstack.machine.Machine over a hypervisor.hvm.domain.HvmDomain."""

    def __init__(self, assignment: Assignment, events: MachineEvents) -> None:
        config = assignment.config
        if assignment.kernel is None:
            raise BuildError("a PVH domain needs a kernel: set kernel=")
        memory_size = config.maxmem * _MIB
        ram = tuple(
            (Gfn(part.start >> PAGE_SHIFT), part.size >> PAGE_SHIFT)
            for part in ram_ranges(memory_size)
        )
        new_engine = hvm_engine_maker(EngineName(config.engine))
        try:
            domain = HvmDomain(
                domain_parameters(assignment, ram), new_engine, ProcessEvents(events)
            )
        except EngineError as error:
            raise BuildError(f'engine="{config.engine}" cannot be used: {error}') from None
        super().__init__(domain, events)
        status = events.status
        status.set_memory(domain.p2m.populated * KIB_PER_PAGE)
        domain.p2m.on_populated = lambda frames: status.set_memory(frames * KIB_PER_PAGE)
        # Linux can only ever bring up processors that its tables call enabled at boot; those that xenstore
        # calls offline it then takes down by itself (drivers/xen/cpu_hotplug.c).
        platform = pvh_platform(memory_size, config.maxvcpus, config.maxvcpus)
        self._furnish(platform)
        modules = [assignment.ramdisk] if assignment.ramdisk is not None else []
        command_line = (config.cmdline or "").encode()
        start = load_pvh(platform, domain.memory, assignment.kernel, modules, command_line)
        console, xenstore = self._connect_rings(platform.console_gfn, platform.xenstore_gfn)
        domain.params.set(HvmParam.CONSOLE_PFN, platform.console_gfn)
        domain.params.set(HvmParam.CONSOLE_EVTCHN, console)
        domain.params.set(HvmParam.STORE_PFN, platform.xenstore_gfn)
        domain.params.set(HvmParam.STORE_EVTCHN, xenstore)
        first = CpuState(rip=start.entry, general={"rbx": start.start_info})
        domain.vcpus[0].start(first)

    def trigger(self, name: str, vcpu: int) -> None:
        """See Machine."""
        vcpus = self._domain.vcpus
        if not 0 <= vcpu < len(vcpus):
            raise ValueError(f"there is no vCPU {vcpu}")
        match name:
            case "nmi":
                vcpus[vcpu].nmi()
            case "init":
                self._domain.init(vcpus[vcpu].lapic)
            case "reset":
                self._domain.shut_down(ShutdownReason.reboot)
            case _:
                raise ValueError(f"a PVH domain has no {name} trigger")

    def core_memory(self) -> CoreMemory:
        """See Machine."""
        stretches = [
            MemoryStretch(GuestPhys(extent.gfn << PAGE_SHIFT), extent.mfn << PAGE_SHIFT,
                          extent.count << PAGE_SHIFT)
            for extent in self._domain.memory.ram
        ]  # fmt: skip
        return CoreMemory(self._domain.memory.machine.fd, stretches)

    def _furnish(self, platform: PvhPlatform) -> None:
        """Back every range of the memory map that is not RAM, and let the guest ask for the map."""
        for part in platform.memory_map:
            if part.type != MemmapType.RAM:
                self._domain.memory.add_frames(
                    Gfn(part.start >> PAGE_SHIFT), -(-part.size >> PAGE_SHIFT)
                )
        self._domain.memory_map = tuple(
            E820Entry(part.start, part.size, part.type) for part in platform.memory_map
        )
