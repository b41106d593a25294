"""One HVM vCPU: what each of its exits does, its upcalls and its areas shared with the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.acpi_ports import RESET_PORT, SLEEP_CONTROL_PORT, SLEEP_ENABLE
from xenolith.abi.errno import Errno, XenError
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.vcpu import Runstate
from xenolith.abi.xen import VCPU_INFO, Virq
from xenolith.engine.hvm import CpuState, HvmVcpu
from xenolith.hypervisor.guest_paging import GuestPaging
from xenolith.hypervisor.hvm.cpu_policy import CpuPolicy
from xenolith.hypervisor.hvm.lapic import LocalApic
from xenolith.hypervisor.hvm.msr_policy import MsrPolicy
from xenolith.hypervisor.hypercalls.dispatch import dispatch
from xenolith.hypervisor.runstate import RunstateAccount
from xenolith.hypervisor.vcpu_timers import VcpuTimers, tick_spacing
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.domain import Domain

_UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
DEBUG_PORT = 0xE9


class Vcpu:
    """A vCPU of a domain; implements the engine's ExitHandler and the event channels' UpcallTarget."""

    engine_vcpu: HvmVcpu

    def __init__(self, domain: Domain, vcpu_id: int, info: memoryview | None) -> None:
        self.domain = domain
        self.id = vcpu_id
        self.info = info
        """Its vcpu_info: in the shared info page until the guest registers another place."""
        clock = domain.clock
        self.runstate = RunstateAccount(clock.now())
        self.engine_vcpu = domain.engine.new_vcpu(self)
        self.registers = self.engine_vcpu.registers
        self.paging = GuestPaging(domain.memory.machine, domain.p2m, self.registers)
        self.lapic = LocalApic(2 * vcpu_id, domain, domain.scheduler.timers, clock.now)
        policy = CpuPolicy(
            domain.engine.base_cpuid,
            domain.domid,
            vcpu_id,
            domain.max_vcpus,
            clock.tsc_hz // 1000,
        )
        self.cpuid = policy.cpuid
        msrs = MsrPolicy(self.lapic, domain.engine.tsc, domain.write_hypercall_page)
        self.read_msr = msrs.read
        self.write_msr = msrs.write
        self.info_registered = False
        self.initialised = False
        """Whether it has registers to run with; if not it waits for a start-up IPI."""
        self.upcall_vector = 0
        """The LAPIC vector of its upcalls (HVMOP_set_evtchn_upcall_vector); 0 if none."""
        self._offers_callback = False
        timers = domain.scheduler.timers
        self.timers = VcpuTimers(timers, clock.now, self._tick, tick_spacing(domain.max_vcpus))
        self._poll_timer = timers.new(self.wake)
        self._polls = False

    def wake(self) -> None:
        """An event is pending, or one that it polls for."""
        if self.upcall_vector and self.info is not None and self.info[_UPCALL_PENDING]:
            self.lapic.raise_vector(self.upcall_vector)
        self.domain.scheduler.wake(self)

    def hypercall(self) -> None:
        """VMMCALL."""
        dispatch(self)

    def pending_vector(self) -> int:
        """The upcall by callback vector comes before the LAPIC's, as in Xen."""
        info = self.info
        if info is not None and info[_UPCALL_PENDING] and self.domain.callback_vector:
            self._offers_callback = True
            return self.domain.callback_vector
        self._offers_callback = False
        return self.lapic.pending_vector()

    def vector_delivered(self, vector: int) -> None:
        """Only the LAPIC keeps vectors in service."""
        if not self._offers_callback:
            self.lapic.accept(vector)

    def read_port(self, port: int, size: int) -> int:
        """No ports exist; what a debug console answers is its own number."""
        return DEBUG_PORT if port == DEBUG_PORT else (1 << 8 * size) - 1

    def write_port(self, port: int, _size: int, value: int) -> None:
        """The debug console takes bytes; the ACPI ports end the domain."""
        if port == DEBUG_PORT:
            self.domain.debug_output(bytes([value & 0xFF]))
        elif port == SLEEP_CONTROL_PORT and value & SLEEP_ENABLE:
            self.domain.shut_down(ShutdownReason.poweroff)
        elif port == RESET_PORT:
            self.domain.shut_down(ShutdownReason.reboot)

    def halt(self) -> None:
        """HLT: sleep unless an interrupt could be taken; with interrupts off, go down."""
        if not self.registers.interrupts_enabled:
            self.go_down()
        elif self.pending_vector() < 0:
            self._sleep()

    def block(self) -> None:
        """SCHEDOP_block: sleep unless something is pending."""
        if self.pending_vector() < 0:
            self._sleep()

    def poll(self, ports: list[int], deadline: int) -> None:
        """SCHEDOP_poll: sleep until a port is pending or a system time has come, 0 meaning none."""
        events = self.domain.event_channels
        could_be_interrupted = self.registers.interrupts_enabled and self.pending_vector() >= 0
        if could_be_interrupted or events.start_poll(self.id, ports):
            return
        if deadline and deadline <= self.domain.clock.now():
            events.stop_poll(self.id)
            return
        if deadline:
            self._poll_timer.arm(deadline)
        self._polls = True
        self.domain.scheduler.block(self)

    def _sleep(self) -> None:
        if self._polls:
            # Something else has ended its last poll, whose events must not end this sleep.
            self._polls = False
            self._poll_timer.cancel()
            self.domain.event_channels.stop_poll(self.id)
        self.domain.scheduler.block(self)

    def go_down(self) -> None:
        """Go offline; the last one to do so powers the domain off."""
        if self.is_up:
            self.domain.scheduler.take_down(self)
        if not any(vcpu.is_up for vcpu in self.domain.vcpus):
            self.domain.shut_down(ShutdownReason.poweroff)

    def pause(self) -> None:
        """PAUSE: the vCPU spins for another one."""
        self.domain.scheduler.yield_now()

    def triple_fault(self) -> None:
        """Three faults within each other: what HVM_PARAM_TRIPLE_FAULT_REASON says."""
        self.domain.triple_fault(self)

    @property
    def is_up(self) -> bool:
        """Whether it is online."""
        return self.runstate.state != Runstate.offline

    def start(self, state: CpuState) -> None:
        """Come up with these registers."""
        self.engine_vcpu.reset(state)
        self.initialised = True
        self.domain.scheduler.bring_up(self)

    def reset(self) -> None:
        """INIT: go down and wait for a start-up IPI, unless it waits already."""
        if self.initialised:
            self.initialised = False
            self.go_down()
            self.lapic.reset()

    def nmi(self) -> None:
        """Take an NMI, which alone wakes a vCPU that has halted with interrupts off."""
        self.engine_vcpu.inject_nmi()
        if self.is_up:
            self.domain.scheduler.wake(self)
        elif self.initialised:
            self.domain.scheduler.bring_up(self)

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
