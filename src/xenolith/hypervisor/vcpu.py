"""One vCPU: its events, timers and times, its areas shared with the guest, and how it comes up and goes down.

What makes it an HVM or a PV one is in hypervisor/hvm/ and hypervisor/pv/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.abi.xen import VCPU_INFO, Virq
from xenolith.engine.vcpu import EngineVcpu, HypercallRegisters
from xenolith.hypervisor.guest_access import GuestAccess
from xenolith.hypervisor.runstate import RunstateAccount
from xenolith.hypervisor.vcpu_timers import VcpuTimers, tick_spacing
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.domain import Domain


class GuestPaging(GuestAccess, Protocol):
    """A vCPU's view of its memory, through its own page tables."""

    def translate(self, address: GuestVirt, *, write: bool = False) -> int:
        """The machine byte address behind a guest-virtual one; XenError(EFAULT) where there is none."""


class Vcpu(ABC):
    """A vCPU of a domain; implements the event channels' UpcallTarget."""

    domain: Domain
    engine_vcpu: EngineVcpu
    registers: HypercallRegisters
    paging: GuestPaging
    handlers: Mapping[int, Any]
    """Its hypercalls by number: functions of the vCPU and five arguments."""
    features: int
    """What XENVER_get_features tells it."""
    assists: frozenset[int]
    """What vm_assist it may ask for."""

    def __init__(self, domain: Domain, vcpu_id: int, info: memoryview | None) -> None:
        self.id = vcpu_id
        self.info = info
        """Its vcpu_info: in the shared info page until the guest registers another place."""
        clock, timers = domain.clock, domain.scheduler.timers
        self.runstate = RunstateAccount(clock.now())
        self.info_registered = False
        self.initialised = False
        """Whether it has registers to run with."""
        self.timers = VcpuTimers(timers, clock.now, self._tick, tick_spacing(domain.max_vcpus))
        self._poll_timer = timers.new(self.wake)
        self._polls = False

    @abstractmethod
    def has_event(self) -> bool:
        """Whether it must not sleep: an event or interrupt is pending."""

    @abstractmethod
    def can_take_event(self) -> bool:
        """Whether one is pending that the guest would take now."""

    @abstractmethod
    def initialise(self, caller: Vcpu, context: GuestVirt) -> None:
        """VCPUOP_initialise, for a vCPU that has no registers yet; XenError."""

    def wake(self) -> None:
        """An event is pending, or one that it polls for."""
        self.domain.scheduler.wake(self)

    def block(self) -> None:
        """SCHEDOP_block: sleep unless something is pending."""
        if not self.has_event():
            self._sleep()

    def poll(self, ports: list[int], deadline: int) -> None:
        """SCHEDOP_poll: sleep until a port is pending or a system time has come, 0 meaning none."""
        events = self.domain.event_channels
        if self.can_take_event() or events.start_poll(self.id, ports):
            return
        if deadline and deadline <= self.domain.clock.now():
            events.stop_poll(self.id)
            return
        if deadline:
            self._poll_timer.arm(deadline)
        self._polls = True
        self.domain.scheduler.block(self)

    def pause(self) -> None:
        """PAUSE: the vCPU spins for another one, which is to run."""
        self.domain.scheduler.yield_now()

    def _sleep(self) -> None:
        if self._polls:
            # Something else has ended its last poll, whose events must not end this sleep.
            self._polls = False
            self._poll_timer.cancel()
            self.domain.event_channels.stop_poll(self.id)
        if not (self.domain.scheduler.make_deferred() and self.can_take_event()):
            self.domain.scheduler.block(self)

    def go_down(self) -> None:
        """Go offline; the last one to do so powers the domain off."""
        if self.is_up:
            self.domain.scheduler.take_down(self)
        if not any(vcpu.is_up for vcpu in self.domain.vcpus):
            self.domain.shut_down(ShutdownReason.poweroff)

    @property
    def is_up(self) -> bool:
        """Whether it is online."""
        return self.runstate.state != Runstate.offline

    def nmi(self) -> None:
        """Take an NMI, which wakes a vCPU whatever it waits for; one that is down takes it when it is up again."""
        self.engine_vcpu.inject_nmi()
        if self.is_up:
            self.domain.scheduler.wake(self)

    def _tick(self) -> None:
        self.domain.event_channels.raise_virq(Virq.TIMER, self.id)

    def register_info(self, gfn: Gfn, offset: int) -> None:
        """Move the vcpu_info to ``offset`` in a frame of the guest's; XenError(EINVAL)."""
        size = VCPU_INFO.size
        if offset > PAGE_SIZE - size or offset % 8:
            raise XenError(Errno.EINVAL, f"a vcpu_info cannot be at offset {offset:#x}")
        info = self.domain.memory.guest_frame(gfn)[offset : offset + size]
        if self.info is not None:
            info[:] = self.info
        else:
            info[:] = bytes(size)
            info[VCPU_INFO.offsets["evtchn_upcall_mask"]] = 1
        self.info = info
        self.info_registered = True
        self.domain.clock.publish(info)
        self.domain.event_channels.vcpu_info_moved(self.id)

    def guest_area(self, address: GuestVirt, size: int) -> list[memoryview]:
        """The pieces of frames behind a guest-virtual range; XenError(EFAULT)."""
        pieces = []
        while size:
            start = self.paging.translate(address, write=True)
            part = min(size, PAGE_SIZE - (start & PAGE_SIZE - 1))
            pieces.append(self.domain.memory.machine.view[start : start + part])
            address = GuestVirt(address + part)
            size -= part
        return pieces
