"""One PV vCPU of the Unicorn engine: the state by which its traps bounce, and its registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenolith.engine.pv import TrapHandler
from xenolith.engine.pv_traps.numbers import CR0_TS, GDT_LIMIT
from xenolith.engine.pv_traps.vcpu import TrapVcpu
from xenolith.engine.unicorn.pv.traps import UnicornVcpuState
from xenolith.machine.address import Mfn

if TYPE_CHECKING:
    from xenolith.engine.unicorn.pv.engine import UnicornPvEngine

_DR6_INITIAL = 0xFFFF0FF0

_LDT, _GDT, _IDT = 6, 8, 9
"""Descriptor tables, as segment registers of CPUX86State."""


class UnicornPvVcpu(TrapVcpu):
    """Registers while it is loaded, a saved context while it is not; implements PvVcpu."""

    def __init__(self, engine: UnicornPvEngine, handler: TrapHandler, number: int) -> None:
        self.registers = engine.registers
        super().__init__(
            handler, UnicornVcpuState(), engine.registers, engine.code, engine.area, number
        )
        self.context = engine.machine.new_context()
        self._engine = engine
        pages = engine.area.add_vcpu(number)
        self._ldt_address = pages.ldt
        self.state.gdt_shown[:] = pages.gdt, pages.own
        self._breakpoints: tuple[Sequence[int], int] = ((), 0)

    def run(self) -> None:
        """See PvVcpu."""
        self._engine.run(self)

    def enter(self) -> None:
        """See TrapVcpu."""
        super().enter()
        self.debug_status = _DR6_INITIAL
        self.arm_breakpoints()

    def go_on_after_another(self) -> None:
        """See TrapVcpu."""
        super().go_on_after_another()
        self.arm_breakpoints()

    def forget_translations(self) -> None:
        """See TrapVcpu."""
        self.state.flush = 1

    def set_roots(self, kernel: Mfn, user: Mfn | None) -> None:
        """See PvVcpu."""
        super().set_roots(kernel, user)
        if self._engine.is_loaded(self):
            self.registers.cr3 = self.state.roots[self.state.in_kernel]

    def set_rflags(self, value: int) -> None:
        """See PvVcpu."""
        self._engine.machine.write_eflags(value)

    def set_task_switched(self, on: bool) -> None:
        """See PvVcpu."""
        cr0 = self.registers.cr0
        self._engine.machine.update_cr0(cr0 | CR0_TS if on else cr0 & ~CR0_TS)

    def set_breakpoints(self, addresses: Sequence[int], control: int) -> None:
        """See PvVcpu."""
        self._breakpoints = addresses, control
        if self._engine.is_loaded(self):
            self.arm_breakpoints()

    def arm_breakpoints(self) -> None:
        """Its breakpoints are those that strike."""
        self._engine.breakpoints.arm(*self._breakpoints)

    @property
    def faults_cpuid(self) -> bool | None:
        """See PvVcpu."""
        return bool(self.state.faults_cpuid)

    @faults_cpuid.setter
    def faults_cpuid(self, value: bool | None) -> None:
        self.state.faults_cpuid = bool(value)

    @property
    def debug_status(self) -> int:
        """See PvVcpu."""
        return self._engine.breakpoints.status

    @debug_status.setter
    def debug_status(self, value: int) -> None:
        self._engine.breakpoints.status = value

    def load_special_registers(self) -> None:
        """See TrapVcpu: the tables are where this vCPU's are shown; the rest is the same for all vCPUs."""
        registers = self.registers
        registers.cr3 = self.state.roots[self.state.in_kernel]
        registers.write_segment(_GDT, self.state.gdt_shown[self.state.in_kernel], GDT_LIMIT)
        registers.write_segment(_IDT, 0, 0)
        self.load_ldt()

    def load_ldt(self) -> None:
        """See TrapVcpu."""
        if self._engine.is_loaded(self):
            self.registers.write_segment(_LDT, self._ldt_address, self.state.ldt_limit)
