"""One HVM vCPU: what each of its exits does, and how its upcalls come: by callback vector or its LAPIC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.abi.acpi_ports import RESET_PORT, SLEEP_CONTROL_PORT, SLEEP_ENABLE
from xenolith.abi.errno import Errno
from xenolith.abi.features import Feature
from xenolith.abi.sched import ShutdownReason
from xenolith.abi.xen import VCPU_INFO, VmAssistType
from xenolith.engine.hvm import CpuState, Registers
from xenolith.engine.hvm import HvmVcpu as EngineHvmVcpu
from xenolith.hypervisor.guest_access import LONG_WORD
from xenolith.hypervisor.guest_paging import GuestPaging
from xenolith.hypervisor.hvm.cpu_policy import CpuPolicy
from xenolith.hypervisor.hvm.initial_context import read_initial_context
from xenolith.hypervisor.hvm.lapic import LocalApic
from xenolith.hypervisor.hvm.msr_policy import MsrPolicy
from xenolith.hypervisor.hypercalls.compat import COMPAT_WORD, dispatch_compat
from xenolith.hypervisor.hypercalls.dispatch import dispatch
from xenolith.hypervisor.hypercalls.table import HVM_HANDLERS
from xenolith.hypervisor.vcpu import Vcpu
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.hvm.domain import HvmDomain

_UPCALL_PENDING = VCPU_INFO.offsets["evtchn_upcall_pending"]
DEBUG_PORT = 0xE9
_TIMER_PORT = 0x42
"""A timer that is not there reads as 0: Linux takes up to 100,000 reads to see through one of all ones."""
_MASK64 = (1 << 64) - 1

_FEATURES = sum(
    1 << feature
    for feature in (
        Feature.writable_page_tables,
        Feature.auto_translated_physmap,
        Feature.hvm_callback_vector,
        Feature.hvm_safe_pvclock,
        Feature.memory_op_vnode_supported,
        Feature.not_direct_mapped,
    )
)


class HvmVcpu(Vcpu):
    """Implements the engine's ExitHandler."""

    domain: HvmDomain
    engine_vcpu: EngineHvmVcpu
    registers: Registers
    handlers = HVM_HANDLERS
    features = _FEATURES
    assists = frozenset({VmAssistType.runstate_update_flag.value})

    def __init__(self, domain: HvmDomain, vcpu_id: int, info: memoryview | None) -> None:
        self.domain = domain
        super().__init__(domain, vcpu_id, info)
        self.engine_vcpu = domain.engine.new_vcpu(self)
        self.registers = self.engine_vcpu.registers
        self.paging = GuestPaging(domain.memory.machine, domain.p2m, self.registers)
        clock = domain.clock
        self.lapic = LocalApic(2 * vcpu_id, domain, domain.scheduler.timers, clock.now)
        policy = CpuPolicy(
            domain.engine.base_cpuid,
            domain.domid,
            vcpu_id,
            domain.max_vcpus,
            clock.tsc_hz // 1000,
        )
        self.cpuid = policy.cpuid
        msrs = MsrPolicy(
            self.engine_vcpu, self.lapic, domain.engine.tsc, self._write_hypercall_page
        )
        self.read_msr = msrs.read
        self.write_msr = msrs.write
        self.upcall_vector = 0
        """The LAPIC vector of its upcalls (HVMOP_set_evtchn_upcall_vector); 0 if none."""
        self._offers_callback = False

    def use_upcall_vector(self, vector: int) -> None:
        """Have upcalls come by a LAPIC vector, the first one at once, as in Xen: events may have come before."""
        self.upcall_vector = vector
        self.lapic.raise_vector(vector)

    def wake(self) -> None:
        """An event is pending, or one that it polls for."""
        if self.upcall_vector and self.info is not None and self.info[_UPCALL_PENDING]:
            self.lapic.raise_vector(self.upcall_vector)
        super().wake()

    def hypercall(self) -> None:
        """VMMCALL."""
        registers = self.registers
        if registers.cpl:
            registers.rax = -Errno.EPERM & _MASK64
        elif registers.long_mode:
            dispatch(self)
        else:
            dispatch_compat(self)

    def latch_word(self) -> None:
        """Have the shared info page as wide as the mode that the vCPU runs in.

        Called from what drivers do first, as Xen's hvm_latch_shinfo_size().
        """
        self.domain.latch_word(LONG_WORD if self.registers.long_mode else COMPAT_WORD)

    def _write_hypercall_page(self, value: int) -> None:
        self.domain.write_hypercall_page(value)
        self.latch_word()

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

    def has_event(self) -> bool:
        """See Vcpu."""
        return self.pending_vector() >= 0

    def can_take_event(self) -> bool:
        """See Vcpu."""
        return self.registers.interrupts_enabled and self.pending_vector() >= 0

    def read_port(self, port: int, size: int) -> int:
        """No ports exist; what a debug console answers is its own number."""
        if port == DEBUG_PORT:
            return DEBUG_PORT
        return 0 if port == _TIMER_PORT else (1 << 8 * size) - 1

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

    def triple_fault(self) -> None:
        """Three faults within each other: what HVM_PARAM_TRIPLE_FAULT_REASON says."""
        self.domain.triple_fault(self)

    def initialise(self, caller: Vcpu, context: GuestVirt) -> None:
        """See Vcpu."""
        self.engine_vcpu.reset(read_initial_context(caller.paging, context))
        self.initialised = True

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
