"""A running domain: its memory, vCPUs, event channels and grants, and how it ends.

What makes it an HVM or a PV one is in hypervisor/hvm/ and hypervisor/pv/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xenolith.abi.compat import WALL_CLOCK
from xenolith.abi.memory import E820Entry
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import VCPU_INFO
from xenolith.engine.vcpu import Engine
from xenolith.hypervisor.event_channel import EventChannelTable, EventObserver
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.hypervisor.grant_table.memory import GrantMemory
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.hypervisor.p2m import PlainRam
from xenolith.hypervisor.scheduler import Scheduler
from xenolith.hypervisor.system_time import SystemTime
from xenolith.hypervisor.watchdog import Watchdogs
from xenolith.machine.address import Gfn
from xenolith.machine.memory import MachineMemory

if TYPE_CHECKING:
    from xenolith.hypervisor.hypercalls.table import Handler
    from xenolith.hypervisor.vcpu import Vcpu

_LEGACY_VCPUS = 32
"""XEN_LEGACY_MAX_VCPUS: how many vcpu_info the shared info page holds."""


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


class DomainMemory(GrantMemory, Protocol):
    """A domain's memory. What a guest calls a gfn is an mfn where the guest is not translated."""

    @property
    def machine(self) -> MachineMemory:
        """The memory file."""

    @property
    def plain_ram(self) -> Sequence[PlainRam]:
        """Frames of RAM that grants may name, and that need not be looked up by ``mfn_of``."""

    @property
    def populated(self) -> int:
        """Frames of RAM that the domain holds now."""

    def guest_frame(self, gfn: Gfn) -> memoryview:
        """A writable view of the frame behind a guest frame number; XenError(EINVAL) if none."""


class Domain:
    """The root object of a domain process; everything but :meth:`post` belongs to its hypervisor thread."""

    memory: DomainMemory
    engine: Engine
    vcpus: Sequence[Vcpu]
    """By vCPU id; complete once the domain is made."""

    def __init__(
        self,
        parameters: DomainParameters,
        engine: Engine,
        memory: DomainMemory,
        vcpus: Sequence[Vcpu],
        events: DomainEvents,
    ) -> None:
        self.domid = parameters.domid
        self.handle = parameters.handle
        self.max_vcpus = parameters.max_vcpus
        self._events = events
        self.engine = engine
        self.memory = memory
        self.vcpus = vcpus
        self.max_pages = sum(count for _, count in parameters.ram)
        self.clock = SystemTime(engine.tsc)
        self.memory_map: tuple[E820Entry, ...] = ()
        self.tracer: Tracer | None = None
        self.scheduler = Scheduler(engine, self.clock, self.crash)
        self.watchdogs = Watchdogs(
            self.scheduler.timers,
            self.clock.now,
            lambda: self.shut_down(ShutdownReason.watchdog),
        )
        self.shutdown_code: ShutdownReason | None = None
        self.shutdown_reason: ShutdownReason | None = None

        self.shared_info_mfn = memory.allocate_frame()
        self._shared_info = memory.frame(self.shared_info_mfn)
        self.event_channels = EventChannelTable(
            self.domid,
            vcpus,
            self._shared_info,
            memory.guest_frame,
            parameters.max_event_channels,
        )
        self.grants = GrantTable(
            self.domid, memory, parameters.max_grant_frames, ram=memory.plain_ram
        )
        self._word = LONG_WORD
        self._write_wall_clock()

    def legacy_vcpu_info(self, vcpu_id: int) -> memoryview | None:
        """The vcpu_info of a vCPU in the shared info page, its clock running; None if it has none."""
        if vcpu_id >= _LEGACY_VCPUS:
            return None
        offset = vcpu_id * VCPU_INFO.size
        info = self._shared_info[offset : offset + VCPU_INFO.size]
        self.clock.publish(info)
        return info

    def ring_name(self, _port: int) -> str | None:
        """Which ring of the domain's own a port belongs to: ``console`` or ``xenstore``."""
        return None

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
        self.log(f"d{self.domid}: {why}")
        self.shutdown_code = None
        self.shut_down(ShutdownReason.crash)

    def log(self, message: str) -> None:
        """Write a line to the hypervisor's log."""
        self._events.log(message)

    def debug_output(self, data: bytes) -> None:
        """Text that the guest wrote to the hypervisor's console."""
        self._events.debug_output(data)

    def latch_word(self, word: int) -> None:
        """Show events and the wall clock in a shared info page with words of 4 or 8 bytes."""
        if word != self._word and self.event_channels.latch_word(word):
            self._word = word
            self._write_wall_clock()

    def _write_wall_clock(self) -> None:
        """wc_*: the wall clock at system time 0; the version is even, as nothing is in progress."""
        seconds, nanoseconds = divmod(self.clock.wall_clock_origin_ns, 1_000_000_000)
        values = (2, seconds & 0xFFFFFFFF, nanoseconds, seconds >> 32)
        for offset, value in zip(WALL_CLOCK[self._word], values, strict=True):
            self._shared_info[offset : offset + 4] = value.to_bytes(4, "little")
