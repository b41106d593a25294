"""One vCPU of the Unicorn engine: decodes its exits, and offers it interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.engine.hvm import CpuState, ExitHandler, GuestException, Vector
from xenolith.engine.register_file import GENERAL
from xenolith.engine.unicorn.control_registers import valid_cr4
from xenolith.engine.unicorn.efer import EFER, read_efer, write_efer
from xenolith.engine.unicorn.vmcb import Exit, Offset, Vmcb

if TYPE_CHECKING:
    from collections.abc import Callable

    from xenolith.engine.unicorn.engine import UnicornEngine

_REQUEST_VIRQ = 0x100
_REQUEST_NMI = 0x200
"""CPU_INTERRUPT_VIRQ and _NMI of QEMU's target/i386/cpu.h, as cpu_exec() looks for them."""

_LOW32 = 0xFFFFFFFF
_MASK64 = (1 << 64) - 1
_CPUID_BYTES = _MSR_BYTES = _PAUSE_BYTES = 2
_VMMCALL_BYTES = 3
_HLT_BYTES = 1

_FAULT_PRESENT = 1

_EVENT_VALID = 1 << 31
_EVENT_VECTOR = 0xFF
_EVENT_TYPE = _EVENT_SOFTWARE = 4 << 8
_NMI_VECTOR = 2


class Redelivery(Exception):  # noqa: N818 - it is the guest's event, not an error of ours
    """Raised by an exit that came in the middle of an exception or INT n: begin its delivery anew."""

    def __init__(self, vector: int, error_code: int, software: bool) -> None:
        super().__init__(vector)
        self.vector = vector
        self.error_code = error_code
        self.software = software


class UnicornVcpu:
    """Registers while it is loaded, a saved context while it is not."""

    def __init__(
        self, engine: UnicornEngine, handler: ExitHandler, vmcb: Vmcb, vmcb_address: int
    ) -> None:
        self.registers = engine.registers
        self.vmcb = vmcb
        self.context = engine.new_context()
        self.initial: CpuState | None = None
        """What it will start with; None once it has."""
        self.enter_again = False
        """Whether the control block has changed since the guest was entered."""
        self.faults_cpuid: bool | None = False
        self._engine = engine
        self._handler = handler
        self.read_port = handler.read_port
        self.write_port = handler.write_port
        self._vmcb_address = vmcb_address
        self._request = engine.interrupt_request
        self._nmi = False
        self._exits: dict[int, Callable[[], int | None]] = {
            Exit.WRITE_CR4.value: self._first_write_of_cr4,
            Exit.NMI.value: self._take_nmi,
            Exit.VINTR.value: self._take_interrupt,
            Exit.CPUID.value: self._cpuid,
            Exit.PAUSE.value: self._pause,
            Exit.HLT.value: self._halt,
            Exit.MSR.value: self._msr,
            Exit.SHUTDOWN.value: handler.triple_fault,
            Exit.VMMCALL.value: self._hypercall,
            Exit.NPF.value: self._nested_fault,
        }

    def reset(self, state: CpuState) -> None:
        """See HvmVcpu."""
        self.initial = state
        self._nmi = False

    def run(self) -> None:
        """See HvmVcpu."""
        self._engine.run(self)

    def repeat_hypercall(self) -> None:
        """See HvmVcpu."""
        self.registers.rip = self.registers.rip - _VMMCALL_BYTES & _MASK64

    def inject_nmi(self) -> None:
        """See HvmVcpu."""
        self._nmi = True

    def enter(self) -> None:
        """Enter the guest for the first time; the CPU is in host mode."""
        state = self.initial
        assert state is not None
        self.initial = None
        self.enter_again = False
        self.vmcb.load(state)
        for name, value in state.general.items():
            self.registers.file[GENERAL[name]] = value
        self._engine.world.enter(self._vmcb_address)

    def follow_filter(self) -> None:
        """Go on behind the nested page table that has come in; the CPU holds this vCPU's registers."""
        self.enter_again = False
        self._engine.world.enter_again(self._vmcb_address)

    def offer(self) -> None:
        """Ask the CPU for an exit as soon as the guest's flags allow what is pending."""
        request = _REQUEST_VIRQ if self._handler.pending_vector() >= 0 else 0
        self._request[0] = request | _REQUEST_NMI if self._nmi else request

    def exit(self, code: int) -> int | None:
        """Handle a #VMEXIT; the vector of an interrupt to deliver now, if any.

        GuestException makes the instruction fault instead of complete; Redelivery repeats an event.
        """
        vector = self._exits.get(code, self._undefined)()
        if self.enter_again:
            self._engine.follow_filter()
        if self._engine.stopping:
            # The emulator would deliver first and stop then; what cannot be delivered is a triple fault, for ever.
            self._request[0] = 0
        else:
            self.offer()
        return vector

    def _take_interrupt(self) -> int | None:
        vector = self._handler.pending_vector()
        if vector < 0:
            return None
        self._handler.vector_delivered(vector)
        return vector

    def _take_nmi(self) -> int:
        self._nmi = False
        return _NMI_VECTOR

    def _hypercall(self) -> None:
        self.registers.skip(_VMMCALL_BYTES)
        self._engine.starting = False
        self._handler.hypercall()

    def _cpuid(self) -> None:
        registers = self.registers
        if self.faults_cpuid and registers.cpl:
            raise GuestException(Vector.GP)
        leaf, subleaf = registers.rax & _LOW32, registers.rcx & _LOW32
        registers.rax, registers.rbx, registers.rcx, registers.rdx = self._handler.cpuid(
            leaf, subleaf
        )
        registers.skip(_CPUID_BYTES)

    def _msr(self) -> None:
        registers = self.registers
        if registers.cpl:
            raise GuestException(Vector.GP)
        msr = registers.rcx & _LOW32
        if registers.exit_info:
            self._write_msr(msr, registers.rax & _LOW32 | (registers.rdx & _LOW32) << 32)
        else:
            value = read_efer(registers) if msr == EFER else self._handler.read_msr(msr)
            registers.rax, registers.rdx = value & _LOW32, value >> 32
        registers.skip(_MSR_BYTES)

    def _write_msr(self, msr: int, value: int) -> None:
        if msr == EFER:
            write_efer(self.registers, value)
            self._engine.flush_tlb()
        else:
            self._handler.write_msr(msr, value)

    def _first_write_of_cr4(self) -> None:
        self._engine.allow_cr4(valid_cr4(self._handler.cpuid))

    def _halt(self) -> None:
        self.registers.skip(_HLT_BYTES)
        self._handler.halt()

    def _pause(self) -> None:
        self.registers.skip(_PAUSE_BYTES)
        self._handler.pause()

    def _nested_fault(self) -> int | None:
        if self.registers.exit_info & _FAULT_PRESENT:
            raise GuestException(Vector.GP)
        self._engine.map_void(self.vmcb.read64(Offset.EXIT_INFO_2))
        event = self.vmcb.read32(Offset.EVENT_INJ)
        if not event & _EVENT_VALID:
            return None
        # The fault interrupted the delivery of an event, which must not get lost.
        self.vmcb.write32(Offset.EVENT_INJ, 0)
        vector = event & _EVENT_VECTOR
        if self._engine.was_interrupting:
            return vector
        software = event & _EVENT_TYPE == _EVENT_SOFTWARE
        raise Redelivery(vector, self.vmcb.read32(Offset.EVENT_INJ_ERR), software)

    def _undefined(self) -> None:
        raise GuestException(Vector.UD)
