"""One PV vCPU on KVM: the state by which its traps bounce, and the registers it is entered with."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenolith.engine.kvm.processor import Processor
from xenolith.engine.kvm.pv import reserved_area, ring_0
from xenolith.engine.kvm.pv.registers import KvmPvRegisters
from xenolith.engine.kvm.pv.traps import KvmVcpuState
from xenolith.engine.kvm.structures.registers import Segment
from xenolith.engine.pv import TrapHandler
from xenolith.engine.pv_traps.numbers import (
    CR0_PG_AM_WP_NE_ET_MP_PE,
    CR0_TS,
    CR4_PAE_FXSR_XMM,
    EFER_NXE_LMA_LME_SCE,
    GDT_LIMIT,
)
from xenolith.engine.pv_traps.vcpu import TrapVcpu
from xenolith.machine.address import PAGE_SIZE

if TYPE_CHECKING:
    from xenolith.engine.kvm.pv.engine import KvmPvEngine

_DR7_OFF = 0x400
_APIC_BASE = 0xFEE00800
_IDT_LIMIT = 0xFFF
_BUSY_TASK, _TABLE = 11, 2
_STAR, _LSTAR, _CSTAR, _FMASK = range(0xC0000081, 0xC0000085)


class KvmPvVcpu(TrapVcpu):
    """A vCPU of KVM's own; implements PvVcpu."""

    faults_cpuid: bool | None = None
    """KVM asks nobody when a program executes CPUID."""

    def __init__(self, engine: KvmPvEngine, handler: TrapHandler, number: int) -> None:
        self.processor = Processor(engine.machine, number)
        self.run_page = self.processor.run
        self.special = self.run_page.s.sregs
        state = KvmVcpuState(fd=self.processor.fd, run=ctypes.addressof(self.run_page))
        self.registers = KvmPvRegisters(state, self.special)
        super().__init__(handler, state, self.registers, engine.code, engine.area, number)
        self._engine = engine
        self._pages = pages = engine.area.add_vcpu(number)
        task = engine.area.add_task(number)
        task_state = ring_0.task_state(pages.own + PAGE_SIZE, pages.own + PAGE_SIZE // 2)
        ctypes.memmove(task, task_state, len(task_state))
        self.state.trap_frame = task + PAGE_SIZE
        self._has_started = False
        self._breakpoints: tuple[Sequence[int], int] = ((), _DR7_OFF)

    def run(self) -> None:
        """See PvVcpu."""
        self._engine.run(self)

    def forget_translations(self) -> None:
        """See TrapVcpu: no vCPU must use them."""
        self._engine.flush_tlb()

    def set_rflags(self, value: int) -> None:
        """See PvVcpu."""
        self.state.rflags = value

    def set_task_switched(self, on: bool) -> None:
        """See PvVcpu."""
        cr0 = self.special.cr0
        self.special.cr0 = cr0 | CR0_TS if on else cr0 & ~CR0_TS

    def set_breakpoints(self, addresses: Sequence[int], control: int) -> None:
        """See PvVcpu."""
        self.processor.set_debug_registers(addresses, self.debug_status, control)
        self._breakpoints = addresses, control

    @property
    def debug_status(self) -> int:
        """See PvVcpu."""
        return self.processor.debug_status()

    @debug_status.setter
    def debug_status(self, value: int) -> None:
        self.processor.set_debug_registers(self._breakpoints[0], value, self._breakpoints[1])

    def load_special_registers(self) -> None:
        """See TrapVcpu: all of the processor's, since KVM keeps what a vCPU had before."""
        if not self._has_started:
            self._has_started = True
            self.processor.set_cpuid(self._engine.leaves(self.handler))
            self._engine.extended_state.enable(self.processor)
        self.processor.clear()
        self.processor.set_msrs(
            {
                _STAR: ring_0.USER_SELECTORS << 48 | ring_0.CODE_SELECTOR << 32,
                _LSTAR: reserved_area.CALL_STUBS + ring_0.SYSCALL_ENTRY,
                _CSTAR: reserved_area.CALL_STUBS + ring_0.SYSCALL32_ENTRY,
                _FMASK: ring_0.SYSCALL_FLAGS,
            }
        )
        special = self.special
        special.cr0 = CR0_PG_AM_WP_NE_ET_MP_PE
        special.cr4 = CR4_PAE_FXSR_XMM | self._engine.extended_state.cr4
        special.efer = EFER_NXE_LMA_LME_SCE
        special.apic_base = _APIC_BASE
        special.gdt.base, special.gdt.limit = self._pages.gdt, GDT_LIMIT
        special.idt.base, special.idt.limit = reserved_area.INTERRUPT_TABLE, _IDT_LIMIT
        special.tr = Segment(
            base=self._pages.own,
            limit=ring_0.TASK_STATE_BYTES - 1,
            selector=ring_0.TASK_SELECTOR,
            type=_BUSY_TASK,
            present=1,
        )
        self.load_ldt()

    def load_ldt(self) -> None:
        """See TrapVcpu."""
        self.special.ldt = Segment(
            base=self._pages.ldt,
            limit=self.state.ldt_limit,
            selector=ring_0.TASK_SELECTOR + 16 if self.state.ldt_limit else 0,
            type=_TABLE,
            present=int(self.state.ldt_limit > 0),
            unusable=int(not self.state.ldt_limit),
        )
