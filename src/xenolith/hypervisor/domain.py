"""A running HVM or PVH domain: its memory, vCPUs, event channels and grants, and how it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.memory import E820Entry
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.engine.hvm import (
    CpuState,
    GuestException,
    HvmEngine,
    Segment,
    Vector,
)
from xenolith.hypervisor.domain_memory import XEN_FRAMES, DomainMemory
from xenolith.hypervisor.event_channel import EventChannelTable, EventObserver
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.hypervisor.hvm.apic_base import APIC_BASE_ADDRESS
from xenolith.hypervisor.hvm.hypercall_page import hypercall_page
from xenolith.hypervisor.hvm.lapic import LocalApic
from xenolith.hypervisor.hvm.params import HvmParams
from xenolith.hypervisor.hvm.xapic_page import XapicPage
from xenolith.hypervisor.scheduler import Scheduler
from xenolith.hypervisor.system_time import SystemTime
from xenolith.hypervisor.vcpu import Vcpu
from xenolith.hypervisor.watchdog import Watchdogs
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys
from xenolith.machine.memory import MachineMemory

if TYPE_CHECKING:
    from xenolith.hypervisor.hypercalls.table import Handler

_LEGACY_VCPUS = 32
"""XEN_LEGACY_MAX_VCPUS: how many vcpu_info the shared info page holds."""


EngineFactory = Callable[[int], tuple[MachineMemory, HvmEngine]]
"""Makes the memory of a domain, of so many frames, and the engine over it."""


@dataclass(frozen=True)
class DomainParameters:
    """What a domain is created with."""

    domid: int
    ram: tuple[tuple[Gfn, int], ...]
    """Where its RAM lies: (first guest frame, number of frames), by ascending address."""
    max_vcpus: int
    handle: bytes = bytes(16)
    """Its UUID."""
    max_event_channels: int = 1023
    max_grant_frames: int = 64


class DomainEvents(Protocol):
    """What the domain tells its process; called on the hypervisor thread."""

    def shut_down(self, reason: ShutdownReason) -> None:
        """The domain has stopped running for good."""

    def debug_output(self, data: bytes) -> None:
        """Text from console_io or the debug port."""

    def log(self, message: str) -> None:
        """A line for the hypervisor's log."""


class Tracer(EventObserver, Protocol):
    """Looks on while attached (``xl strace``)."""

    def hypercall(
        self, vcpu: Vcpu, number: int, registers: tuple[int, ...], handler: Handler
    ) -> int:
        """Make a hypercall by its handler; returns or raises what that does."""


class Domain:
    """The root object of a domain process; everything but :meth:`post` belongs to its hypervisor thread."""

    def __init__(
        self,
        parameters: DomainParameters,
        new_engine: EngineFactory,
        events: DomainEvents,
    ) -> None:
        self.domid = parameters.domid
        self.handle = parameters.handle
        self.max_vcpus = parameters.max_vcpus
        self._events = events
        ram_frames = sum(count for _, count in parameters.ram)
        machine, self.engine = new_engine(ram_frames + XEN_FRAMES)
        self.memory = DomainMemory(machine, self.engine, parameters.ram)
        self.p2m = self.memory.p2m
        self.max_pages = ram_frames
        self.clock = SystemTime(self.engine.tsc)
        self.memory_map: tuple[E820Entry, ...] = ()
        self.tracer: Tracer | None = None
        self.unknown_hypercalls: Counter[int] = Counter()
        self.callback_vector = 0
        self.params = HvmParams(self._set_callback_vector)
        self.scheduler = Scheduler(self.engine, self.clock, self.crash)
        self.watchdogs = Watchdogs(
            self.scheduler.timers,
            self.clock.now,
            lambda: self.shut_down(ShutdownReason.watchdog),
        )
        self.shutdown_code: ShutdownReason | None = None
        self.shutdown_reason: ShutdownReason | None = None

        self.shared_info_mfn = self.memory.allocate_frame()
        shared_info = self.memory.frame(self.shared_info_mfn)
        self.vcpus: list[Vcpu] = []
        self.lapics: list[LocalApic] = []
        self.event_channels = EventChannelTable(
            self.domid,
            self.vcpus,
            shared_info,
            self.memory.guest_frame,
            parameters.max_event_channels,
        )
        self.grants = GrantTable(self.domid, self.memory, parameters.max_grant_frames)
        self.p2m.is_pinned = self.grants.is_pinned
        if parameters.max_vcpus > 1:
            self.engine.intercept_pause()
        for vcpu_id in range(parameters.max_vcpus):
            self._add_vcpu(vcpu_id, shared_info)
        self._write_wall_clock(shared_info)
        self.engine.map_mmio(GuestPhys(APIC_BASE_ADDRESS), XapicPage(self._current_lapic))

    def _add_vcpu(self, vcpu_id: int, shared_info: memoryview) -> None:
        info = None
        if vcpu_id < _LEGACY_VCPUS:
            offset = vcpu_id * VCPU_INFO.size
            info = shared_info[offset : offset + VCPU_INFO.size]
            self.clock.publish(info)
        vcpu = Vcpu(self, vcpu_id, info)
        self.vcpus.append(vcpu)
        self.lapics.append(vcpu.lapic)

    def write_hypercall_page(self, value: int) -> None:
        """Fill a page with hypercall stubs: a guest has written its address to the hypercall MSR."""
        gfn = Gfn(value >> PAGE_SHIFT)
        if value & PAGE_SIZE - 1 or not self.memory.fill_code_page(gfn, hypercall_page()):
            raise GuestException(Vector.GP)

    def run(self) -> None:
        """Run until :meth:`stop`: the body of the hypervisor thread. A failed guest is a crash."""
        self.scheduler.run()

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` on the hypervisor thread soon; from any thread."""
        self.scheduler.post(call)

    def trace(self, tracer: Tracer | None) -> None:
        """Have a tracer look on from now on, or nobody."""
        self.tracer = tracer
        self.event_channels.observer = tracer

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self.scheduler.stop()

    def shut_down(self, reason: ShutdownReason) -> None:
        """Stop all vCPUs for good and tell the toolstack."""
        if self.shutdown_reason is not None:
            return
        self.shutdown_reason = self.shutdown_code if self.shutdown_code is not None else reason
        self.scheduler.halt()
        self._events.shut_down(self.shutdown_reason)

    def crash(self, why: str) -> None:
        """Shut down as crashed, with the reason in the log."""
        self._events.log(f"d{self.domid}: {why}")
        self.shutdown_code = None
        self.shut_down(ShutdownReason.crash)

    def triple_fault(self, vcpu: Vcpu) -> None:
        """Shut down for the reason that HVM_PARAM_TRIPLE_FAULT_REASON names."""
        reason = ShutdownReason(self.params.get(HvmParam.TRIPLE_FAULT_REASON))
        self._events.log(f"d{self.domid}v{vcpu.id}: triple fault, invoking {reason.name}")
        self.shut_down(reason)

    def debug_output(self, data: bytes) -> None:
        """Text that the guest wrote to the hypervisor's console."""
        self._events.debug_output(data)

    def interrupt(self, lapic: LocalApic) -> None:
        """A vector became pending in a LAPIC."""
        self.scheduler.wake(self._owner(lapic))

    def nmi(self, lapic: LocalApic) -> None:
        """Deliver an NMI."""
        self._owner(lapic).nmi()

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
        assert isinstance(vcpu, Vcpu)
        return vcpu.lapic

    def _owner(self, lapic: LocalApic) -> Vcpu:
        return self.vcpus[lapic.apic_id // 2]

    def _set_callback_vector(self, vector: int) -> None:
        self.callback_vector = vector

    def _write_wall_clock(self, shared_info: memoryview) -> None:
        """wc_*: the wall clock at system time 0; the version is even, as nothing is in progress."""
        seconds, nanoseconds = divmod(self.clock.wall_clock_origin_ns, 1_000_000_000)
        for name, value in (
            ("wc_version", 2),
            ("wc_sec", seconds & 0xFFFFFFFF),
            ("wc_nsec", nanoseconds),
            ("wc_sec_hi", seconds >> 32),
        ):
            offset = SHARED_INFO.offsets[name]
            shared_info[offset : offset + 4] = value.to_bytes(4, "little")


_REAL_MODE_CODE = 0x9B
_REAL_MODE_DATA = Segment(0, 0x93, 0xFFFF, 0)
