"""A PVH domain as its process runs it: the hypervisor's domain, built from a kernel, with its backends."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.hvm_start_info import MemmapType
from xenolith.abi.memory import E820Entry
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.backends.console import ConsoleBackend
from xenolith.backends.xenbus import Guest
from xenolith.backends.xenstore_ring import XenstoreRing
from xenolith.builder.errors import BuildError
from xenolith.builder.memory_map import ram_ranges
from xenolith.builder.pvh import PvhPlatform, load_pvh, pvh_platform
from xenolith.engine.choice import new_hvm_engine
from xenolith.engine.hvm import CpuState
from xenolith.hypervisor.domain import DomainParameters
from xenolith.hypervisor.hvm.domain import HvmDomain
from xenolith.hypervisor.trace.domain_trace import attach
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys, Mfn
from xenolith.toolstack.config import EngineChoice
from xenolith.toolstack.core_dump import MemoryStretch
from xenolith.toolstack.machine import Assignment, CoreMemory, MachineEvents
from xenolith.toolstack.xenstore_relay import ByteRing

_MIB = 1 << 20
_KIB_PER_PAGE = PAGE_SIZE // 1024
_GNTTAB_CONSOLE, _GNTTAB_XENSTORE = 0, 1


class PvhMachine:
    """Implements toolstack.machine.Machine over a hypervisor.domain.Domain."""

    def __init__(self, assignment: Assignment, events: MachineEvents) -> None:
        config = assignment.config
        if assignment.kernel is None:
            raise BuildError("a PVH domain needs a kernel: set kernel=")
        if config.engine is EngineChoice.KVM:
            raise BuildError('engine="kvm" is not there yet: use engine="unicorn"')
        self._events = events
        memory_size = config.maxmem * _MIB
        self._ram = tuple(
            (Gfn(part.start >> PAGE_SHIFT), part.size >> PAGE_SHIFT)
            for part in ram_ranges(memory_size)
        )
        parameters = DomainParameters(
            domid=assignment.domid,
            ram=self._ram,
            max_vcpus=config.maxvcpus,
            handle=uuid.UUID(config.uuid).bytes,
            max_event_channels=config.max_event_channels,
            max_grant_frames=config.max_grant_frames,
        )
        self._domain = HvmDomain(parameters, new_hvm_engine, _DomainEvents(events))
        self._show_status()
        platform = pvh_platform(memory_size, config.vcpus, config.maxvcpus)
        self._furnish(platform)
        modules = [assignment.ramdisk] if assignment.ramdisk is not None else []
        command_line = (config.cmdline or "").encode()
        start = load_pvh(platform, self._domain.memory, assignment.kernel, modules, command_line)
        self.xenstore: ByteRing
        self._console, self.xenstore = self._connect_backends(platform)
        self.channels: dict[str, tuple[int, int]] = {
            "console": (self._domain.params.get(HvmParam.CONSOLE_EVTCHN), platform.console_gfn),
            "store": (self._domain.params.get(HvmParam.STORE_EVTCHN), platform.xenstore_gfn),
        }
        self._domain.scheduler.pause()
        first = CpuState(rip=start.entry, general={"rbx": start.start_info})
        self._domain.vcpus[0].start(first)
        self._thread = threading.Thread(target=self._domain.run, name="hypervisor")

    def start(self) -> None:
        """See Machine."""
        self._thread.start()

    def post(self, call: Callable[[], None]) -> None:
        """See Machine."""
        self._domain.post(call)

    def stop(self) -> None:
        """See Machine."""
        self._domain.post(self._domain.stop)
        self._thread.join()

    def release(self) -> None:
        """See Machine."""
        machine = self._domain.memory.machine
        machine.discard(Mfn(0), machine.frames)

    def pause(self) -> None:
        """See Machine."""
        self._domain.scheduler.pause()

    def unpause(self) -> None:
        """See Machine."""
        self._domain.scheduler.unpause()

    def console_input(self, data: bytes) -> int:
        """See Machine."""
        return self._console.write_input(data)

    def trigger(self, name: str, vcpu: int) -> None:
        """See Machine."""
        vcpus = self._domain.vcpus
        if not 0 <= vcpu < len(vcpus):
            raise ValueError(f"there is no vCPU {vcpu}")
        match name:
            case "nmi":
                self._domain.nmi(vcpus[vcpu].lapic)
            case "init":
                self._domain.init(vcpus[vcpu].lapic)
            case "reset":
                self._domain.shut_down(ShutdownReason.reboot)
            case _:
                raise ValueError(f"a PVH domain has no {name} trigger")

    def set_max_memory(self, kib: int) -> None:
        """See Machine."""
        self._domain.max_pages = kib // _KIB_PER_PAGE
        self._events.status.set_max_memory(kib)

    def core_memory(self) -> CoreMemory:
        """See Machine."""
        stretches = [
            MemoryStretch(GuestPhys(extent.gfn << PAGE_SHIFT), extent.mfn << PAGE_SHIFT,
                          extent.count << PAGE_SHIFT)
            for extent in self._domain.memory.ram
        ]  # fmt: skip
        return CoreMemory(self._domain.memory.machine.fd, stretches)

    def guest(self) -> Guest:
        """See Machine."""
        domain, events = self._domain, self._events
        return Guest(
            domain.domid, domain.grants, domain.event_channels, domain.post, events.log, events.hold
        )

    def trace(self, sink: Callable[[str], None] | None) -> None:
        """See Machine."""
        if sink is None:
            self._domain.trace(None)
        else:
            attach(self._domain, sink)

    def _show_status(self) -> None:
        domain, status = self._domain, self._events.status
        status.set_memory(domain.p2m.populated * _KIB_PER_PAGE)
        status.set_max_memory(domain.max_pages * _KIB_PER_PAGE)
        status.set_vcpus(len(domain.vcpus))
        domain.p2m.on_populated = lambda frames: status.set_memory(frames * _KIB_PER_PAGE)
        for vcpu in domain.vcpus:
            vcpu.runstate.observer = _observer(self._events, vcpu.id)

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

    def _connect_backends(self, platform: PvhPlatform) -> tuple[ConsoleBackend, XenstoreRing]:
        domain, events = self._domain, self._events
        console = ConsoleBackend(
            domain.memory.guest_frame(platform.console_gfn),
            domain.event_channels,
            events.console_output,
            events.console_input_wanted,
        )
        xenstore = XenstoreRing(
            domain.memory.guest_frame(platform.xenstore_gfn),
            domain.event_channels,
            events.xenstore_activity,
        )
        domain.grants.seed(_GNTTAB_CONSOLE, 0, platform.console_gfn)
        domain.grants.seed(_GNTTAB_XENSTORE, 0, platform.xenstore_gfn)
        domain.params.set(HvmParam.CONSOLE_PFN, platform.console_gfn)
        domain.params.set(HvmParam.CONSOLE_EVTCHN, console.port)
        domain.params.set(HvmParam.STORE_PFN, platform.xenstore_gfn)
        domain.params.set(HvmParam.STORE_EVTCHN, xenstore.port)
        return console, xenstore


class _DomainEvents:
    """Hands what the domain tells to its process."""

    def __init__(self, events: MachineEvents) -> None:
        self._events = events
        self.debug_output = events.console_output
        self.log = events.log

    def shut_down(self, reason: ShutdownReason) -> None:
        """The vCPUs have stopped for good."""
        self._events.shut_down(reason)


def _observer(events: MachineEvents, vcpu_id: int) -> Callable[[Runstate, int], None]:
    def changed(state: Runstate, run_time_ns: int) -> None:
        events.status.set_vcpu(vcpu_id, state, run_time_ns)

    return changed
