"""One HVM vCPU of the KVM engine: decodes its exits, and offers it interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xenolith.abi.cpuid import XEN_CPUID_FIRST_LEAF
from xenolith.engine.hvm import CpuState, ExitHandler, GuestException, Vector
from xenolith.engine.kvm import api
from xenolith.engine.kvm.device import Leaf
from xenolith.engine.kvm.processor import Processor, UnreachableMemoryError
from xenolith.engine.kvm.segments import load_segment
from xenolith.machine.address import PAGE_SIZE

if TYPE_CHECKING:
    from xenolith.engine.kvm.engine import KvmEngine

HYPERCALL_PORT = 0x7E
"""The one port at whose exits RIP is always behind the OUT (KVM_X86_QUIRK_OUT_7E_INC_RIP)."""
HYPERCALL_INSTRUCTION = b"\x66\xe7" + bytes([HYPERCALL_PORT])
"""out 0x7e, ax: VMMCALL is KVM's own, except on hosts with its support for Xen. Either takes three bytes."""

_APIC_BASE, _APIC_IS_BOOTSTRAP = 0xFEE00800, 0x100
_TABLE_LIMIT = 0xFFFF
_XEN_LEAVES = 6
_XEN_SUBLEAVES = {3: 3, 4: 1, 5: 1}
"""Of the leaves about time, HVM and PV."""


class KvmVcpu:
    """A vCPU of KVM's own, with registers of its own."""

    def __init__(self, engine: KvmEngine, handler: ExitHandler, number: int) -> None:
        self.processor = Processor(engine.machine, number)
        self.registers = self.processor.registers
        self.run_page = self.processor.run
        self._engine = engine
        self._handler = handler
        self._number = number
        self._identified = False
        self.faults_cpuid: bool | None = None
        self._exits: dict[int, Callable[[], None]] = {
            api.KVM_EXIT_IO: self._port,
            api.KVM_EXIT_HLT: handler.halt,
            api.KVM_EXIT_MMIO: self._mmio,
            api.KVM_EXIT_IRQ_WINDOW_OPEN: self._nothing,
            api.KVM_EXIT_INTR: self._nothing,
            api.KVM_EXIT_SHUTDOWN: handler.triple_fault,
            api.KVM_EXIT_XEN: self._xen,
            api.KVM_EXIT_X86_RDMSR: self._read_msr,
            api.KVM_EXIT_X86_WRMSR: self._write_msr,
        }

    def reset(self, state: CpuState) -> None:
        """See HvmVcpu."""
        if not self._identified:
            self._identified = True
            self.processor.set_cpuid(self._leaves())
        self.processor.clear()
        registers, special = self.run_page.s.regs, self.run_page.s.sregs
        for name, value in state.general.items():
            setattr(registers, name, value)
        registers.rip, registers.rsp, registers.rflags = state.rip, state.rsp, state.rflags
        for name in ("cs", "ds", "es", "ss", "tr"):
            load_segment(getattr(special, name), getattr(state, name))
        special.fs = special.gs = special.ds
        special.ldt.unusable = 1
        special.gdt.limit = special.idt.limit = _TABLE_LIMIT
        special.cr0, special.cr3, special.cr4 = state.cr0, state.cr3, state.cr4
        special.efer = state.efer
        special.apic_base = _APIC_BASE | (0 if self._number else _APIC_IS_BOOTSTRAP)
        self.processor.mark_all_registers()

    def run(self) -> None:
        """See HvmVcpu."""
        engine, exits, enter = self._engine, self._exits, self.processor.enter
        engine.begin(self)
        try:
            while not engine.stopping:
                self._offer()
                try:
                    reason = enter()
                except UnreachableMemoryError:
                    if not engine.space.cut_holes_out():
                        raise
                else:
                    exits.get(reason, self._fail)()
        except InterruptedError:
            pass
        finally:
            engine.end()

    def repeat_hypercall(self) -> None:
        """See HvmVcpu."""
        self.registers.rip -= len(HYPERCALL_INSTRUCTION)

    def inject_nmi(self) -> None:
        """See HvmVcpu."""
        self.processor.nmi()

    def _offer(self) -> None:
        """Hand over what interrupt is pending, or have KVM say when the guest can take it."""
        run, handler = self.run_page, self._handler
        vector = handler.pending_vector()
        if vector >= 0 and run.ready_for_interrupt_injection and run.if_flag:
            self.processor.interrupt(vector)
            handler.vector_delivered(vector)
            vector = handler.pending_vector()
        run.request_interrupt_window = vector >= 0

    def _port(self) -> None:
        io = self.run_page.exit.io
        port, size = io.port, io.size
        if port == HYPERCALL_PORT and io.direction and size == 2:
            self._handler.hypercall()
            return
        start = io.data_offset
        for at in range(start, start + io.count * size, size):
            data = self.processor.page[at : at + size]
            if io.direction:
                self._handler.write_port(port, size, int.from_bytes(data, "little"))
            else:
                data[:] = self._handler.read_port(port, size).to_bytes(size, "little")

    def _xen(self) -> None:
        """VMMCALL or VMCALL."""
        call = self.run_page.exit.xen
        if call.type != api.KVM_EXIT_XEN_HCALL:
            self._fail()
        # KVM goes behind the instruction first, so that it leaves RAX and RIP alone afterwards.
        call.result = self.registers.rax
        self.processor.complete()
        self._handler.hypercall()

    def _mmio(self) -> None:
        mmio = self.run_page.exit.mmio
        address, size = mmio.phys_addr, mmio.len
        space = self._engine.space
        if mmio.is_write and space.is_readonly(address):
            # KVM has dropped it, and gone on: the guest hears of it at the next instruction.
            self.processor.raise_exception(Vector.GP, 0)
            return
        device, offset = space.device(address), address % PAGE_SIZE
        if mmio.is_write:
            device.write(offset, size, int.from_bytes(bytes(mmio.data[:size]), "little"))
        else:
            value = device.read(offset, size)
            mmio.data[:size] = value.to_bytes(size, "little")

    def _read_msr(self) -> None:
        msr = self.run_page.exit.msr
        try:
            msr.data = self._handler.read_msr(msr.index)
        except GuestException:
            msr.error = 1

    def _write_msr(self) -> None:
        msr = self.run_page.exit.msr
        try:
            self._handler.write_msr(msr.index, msr.data)
        except GuestException:
            msr.error = 1

    def _nothing(self) -> None:
        """An exit that is only there for what is offered next."""

    def _fail(self) -> None:
        raise self.processor.failure()

    def _leaves(self) -> Iterator[tuple[int, int, int, Leaf]]:
        supported = self._engine.machine.device.supported_cpuid
        indexed = {leaf for leaf, subleaf in supported if subleaf}
        cpuid = self._handler.cpuid
        for leaf, subleaf in supported:
            if leaf >> 16 != XEN_CPUID_FIRST_LEAF >> 16:
                flags = api.KVM_CPUID_FLAG_SIGNIFCANT_INDEX if leaf in indexed else 0
                yield leaf, subleaf, flags, cpuid(leaf, subleaf)
        for number in range(_XEN_LEAVES):
            leaf, subleaves = XEN_CPUID_FIRST_LEAF + number, _XEN_SUBLEAVES.get(number, 0)
            # A leaf that has none is the same whatever ECX holds.
            if not subleaves:
                yield leaf, 0, 0, cpuid(leaf, 0)
            for subleaf in range(subleaves):
                yield leaf, subleaf, api.KVM_CPUID_FLAG_SIGNIFCANT_INDEX, cpuid(leaf, subleaf)
