"""What machines of every type have in common: they run a domain of the hypervisor's, with console and xenstore."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.backends.console import ConsoleBackend
from xenolith.backends.xenbus import Guest
from xenolith.backends.xenstore_ring import XenstoreRing
from xenolith.hypervisor.domain import Domain, DomainParameters
from xenolith.hypervisor.throttle import Throttle
from xenolith.hypervisor.trace.domain_trace import attach
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn
from xenolith.toolstack.machine import Assignment, CoreMemory, MachineEvents
from xenolith.toolstack.xenstore_relay import ByteRing

KIB_PER_PAGE = PAGE_SIZE // 1024
_GNTTAB_CONSOLE, _GNTTAB_XENSTORE = 0, 1

D = TypeVar("D", bound=Domain)


def domain_parameters(assignment: Assignment, ram: tuple[tuple[Gfn, int], ...]) -> DomainParameters:
    """What the hypervisor is to make a domain with."""
    config = assignment.config
    return DomainParameters(
        domid=assignment.domid,
        ram=ram,
        max_vcpus=config.maxvcpus,
        handle=uuid.UUID(config.uuid).bytes,
        max_event_channels=config.max_event_channels,
        max_grant_frames=config.max_grant_frames,
    )


class DomainMachine(ABC, Generic[D]):
    """Implements toolstack.machine.Machine over a domain, whose vCPUs stand still at first."""

    def __init__(self, domain: D, events: MachineEvents) -> None:
        self._domain = domain
        self._events = events
        self.doze = domain.scheduler.doze
        self.xenstore: ByteRing
        self.channels: dict[str, tuple[int, int]] = {}
        self._console: ConsoleBackend
        self._thread = threading.Thread(target=domain.run, name="hypervisor")
        domain.scheduler.pause()
        status = events.status
        status.set_max_memory(domain.max_pages * KIB_PER_PAGE)
        status.set_vcpus(len(domain.vcpus))
        for vcpu in domain.vcpus:
            vcpu.runstate.observer = _observer(events, vcpu.id)

    @abstractmethod
    def trigger(self, name: str, vcpu: int) -> None:
        """See Machine."""

    @abstractmethod
    def core_memory(self) -> CoreMemory:
        """See Machine."""

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

    def set_max_memory(self, kib: int) -> None:
        """See Machine."""
        self._domain.max_pages = kib // KIB_PER_PAGE
        self._events.status.set_max_memory(kib)

    def throttle(self, throttle: Throttle | None) -> None:
        """See Machine."""
        self._domain.scheduler.throttle(throttle)

    def set_slices(self, slice_ns: int, wake_slice_ns: int) -> None:
        """See Machine."""
        self._domain.scheduler.set_slices(slice_ns, wake_slice_ns)

    def guest(self) -> Guest:
        """See Machine."""
        domain, events = self._domain, self._events
        return Guest(
            domain.domid,
            domain.grants,
            domain.event_channels,
            domain.post,
            domain.scheduler.defer,
            events.log,
            events.hold,
        )

    def trace(self, sink: Callable[[str], None] | None) -> None:
        """See Machine."""
        if sink is None:
            self._domain.trace(None)
        else:
            attach(self._domain, sink)

    def _connect_rings(self, console_gfn: Gfn, xenstore_gfn: Gfn) -> tuple[int, int]:
        """Serve the rings in two frames of the guest's; their event channels."""
        domain, events = self._domain, self._events
        self._console = ConsoleBackend(
            domain.memory.guest_frame(console_gfn),
            domain.event_channels,
            events.console_output,
            events.console_input_wanted,
        )
        xenstore = XenstoreRing(
            domain.memory.guest_frame(xenstore_gfn),
            domain.event_channels,
            events.xenstore_activity,
        )
        self.xenstore = xenstore
        domain.grants.seed(_GNTTAB_CONSOLE, 0, console_gfn)
        domain.grants.seed(_GNTTAB_XENSTORE, 0, xenstore_gfn)
        self.channels["console"] = (self._console.port, console_gfn)
        self.channels["store"] = (xenstore.port, xenstore_gfn)
        return self._console.port, xenstore.port


class ProcessEvents:
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
