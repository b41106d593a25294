"""One vCPU of KVM as the kernel knows it: its run page, the requests about it, and how it is set to a state.

What its exits mean is the business of those who use it (Documentation/virt/kvm/api.rst).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterable

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm import api
from xenolith.engine.kvm.device import KvmMachine, Leaf, request
from xenolith.engine.kvm.registers import KvmRegisters
from xenolith.engine.kvm.structures.machine import Address, Cpuid, DeviceAttribute
from xenolith.engine.kvm.structures.registers import (
    DebugRegisters,
    Fpu,
    Interrupt,
    Msrs,
    VcpuEvents,
)
from xenolith.engine.kvm.structures.run_page import Run

_FCW_RESET, _MXCSR_RESET = 0x37F, 0x1F80
_RESET_MSRS = {
    0x174: 0, 0x175: 0, 0x176: 0,  # SYSENTER
    0x277: 0x0007_0406_0007_0406,  # PAT
    0xC0000081: 0, 0xC0000082: 0, 0xC0000083: 0, 0xC0000084: 0,  # STAR to FMASK
    0xC0000102: 0,  # kernel GS base
}  # fmt: skip

DIRECT_MSRS = (
    range(0x174, 0x177),
    range(0x277, 0x278),
    range(0xC0000080, 0xC0000085),
    range(0xC0000100, 0xC0000104),
)
"""MSRs that KVM keeps for a vCPU without asking: SYSENTER, PAT, EFER, STAR to FMASK, segment bases, TSC_AUX."""

_SUBERRORS = {1: "cannot emulate an instruction", 2: "faulted while it delivered an event"}


class UnreachableMemoryError(EngineError):
    """The guest has touched memory of a slot that the host lets nobody touch; KVM does not say where."""

    def __init__(self) -> None:
        super().__init__("the guest has touched memory that the host does not give it")


class Processor:
    """A vCPU's descriptor and run page."""

    def __init__(self, machine: KvmMachine, number: int) -> None:
        self.fd, page = machine.create_vcpu(number)
        self.page = memoryview(page)
        self.run = Run.from_buffer(page)
        self.run.kvm_valid_regs = api.KVM_SYNC_X86_REGS | api.KVM_SYNC_X86_SREGS
        self.registers = KvmRegisters(self.run, self.page)
        self._has_run = False
        self._follow_host_tsc()

    def enter(self) -> int:
        """Run until the next exit: its reason. InterruptedError after a kick, EngineError."""
        self._has_run = True
        try:
            fcntl.ioctl(self.fd, api.KVM_RUN, 0)
        except InterruptedError:
            raise
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise UnreachableMemoryError from None
            raise EngineError(f"KVM cannot run the guest: {error.strerror}") from None
        reason: int = self.run.exit_reason
        return reason

    def complete(self) -> None:
        """Finish the instruction of the last exit and begin no other."""
        if not self._has_run:
            return
        self.run.immediate_exit = 1
        try:
            while True:
                self.enter()
        except InterruptedError:
            pass
        finally:
            self.run.immediate_exit = 0

    def set_cpuid(self, leaves: Iterable[tuple[int, int, int, Leaf]]) -> None:
        """What CPUID returns: leaf, subleaf, KVM's flags, and EAX to EDX of each."""
        cpuid = Cpuid()
        for entry, (leaf, subleaf, flags, values) in zip(cpuid.entries, leaves, strict=False):
            entry.function, entry.index, entry.flags = leaf, subleaf, flags
            entry.eax, entry.ebx, entry.ecx, entry.edx = values
            cpuid.nent += 1
        self.request(api.KVM_SET_CPUID2, cpuid, "the CPUID leaves")

    def clear(self) -> None:
        """Undo all that a run may have left: events, FPU, MSRs; general registers become 0."""
        self.complete()
        events = VcpuEvents(
            flags=api.KVM_VCPUEVENT_VALID_NMI_PENDING | api.KVM_VCPUEVENT_VALID_SHADOW
        )
        self.request(api.KVM_SET_VCPU_EVENTS, events, "events")
        self.request(api.KVM_SET_FPU, Fpu(fcw=_FCW_RESET, mxcsr=_MXCSR_RESET), "the FPU")
        self.set_msrs(_RESET_MSRS)
        ctypes.memset(ctypes.addressof(self.run.s), 0, ctypes.sizeof(self.run.s))

    def mark_all_registers(self) -> None:
        """Have the run page's general and special registers take effect."""
        self.run.kvm_dirty_regs = api.KVM_SYNC_X86_REGS | api.KVM_SYNC_X86_SREGS

    def set_msrs(self, values: dict[int, int]) -> None:
        """Write MSRs, 16 at most."""
        msrs = Msrs(nmsrs=len(values))
        for entry, (index, value) in zip(msrs.entries, values.items(), strict=False):
            entry.index, entry.data = index, value
        self.request(api.KVM_SET_MSRS, msrs, "MSRs")

    def raise_exception(self, vector: int, error_code: int) -> None:
        """Deliver an exception that has an error code, at RIP."""
        events = VcpuEvents(
            exception_injected=1,
            exception_nr=vector,
            exception_has_error_code=1,
            exception_error_code=error_code,
        )
        self.request(api.KVM_SET_VCPU_EVENTS, events, "events")

    def set_debug_registers(self, addresses: Iterable[int], status: int, control: int) -> None:
        """DR0 and on, DR6, and DR7."""
        registers = DebugRegisters(dr6=status, dr7=control)
        for number, address in enumerate(addresses):
            registers.db[number] = address
        self.request(api.KVM_SET_DEBUGREGS, registers, "the debug registers")

    def debug_status(self) -> int:
        """DR6."""
        registers = DebugRegisters()
        request(self.fd, api.KVM_GET_DEBUGREGS, registers)
        status: int = registers.dr6
        return status

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt; the run page must have said that it can be taken."""
        self.request(api.KVM_INTERRUPT, Interrupt(vector), "an interrupt")
        self.run.ready_for_interrupt_injection = 0

    def nmi(self) -> None:
        """Deliver an NMI as soon as can be."""
        request(self.fd, api.KVM_NMI)

    def failure(self) -> EngineError:
        """What the last exit says, which nothing can be done about."""
        run, at = self.run, f"at {self.registers.rip:#x}"
        if run.exit_reason == api.KVM_EXIT_INTERNAL_ERROR:
            suberror = run.exit.internal.suberror
            return EngineError(f"KVM {_SUBERRORS.get(suberror, f'fails ({suberror})')} {at}")
        if run.exit_reason == api.KVM_EXIT_FAIL_ENTRY:
            reason = run.exit.hardware_entry_failure_reason
            return EngineError(f"the processor refuses the guest's state {at} ({reason:#x})")
        return EngineError(f"KVM has stopped the guest {at} for reason {run.exit_reason}")

    def close(self) -> None:
        """Let go of it; its run page goes with the object."""
        os.close(self.fd)

    def request(self, number: int, argument: ctypes.Structure, what: str) -> None:
        """A request about this vCPU; EngineError."""
        try:
            request(self.fd, number, argument)
        except OSError as error:
            raise EngineError(f"KVM does not take {what} of a vCPU: {error.strerror}") from None

    def _follow_host_tsc(self) -> None:
        offset = Address(0)
        attribute = DeviceAttribute(
            group=api.KVM_VCPU_TSC_CTRL, attr=api.KVM_VCPU_TSC_OFFSET, addr=ctypes.addressof(offset)
        )
        self.request(api.KVM_SET_DEVICE_ATTR, attribute, "the TSC offset")
