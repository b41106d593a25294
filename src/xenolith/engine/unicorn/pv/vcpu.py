"""One PV vCPU of the Unicorn engine: the state by which its traps bounce, and its registers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import PvCpuState, TrapGate, TrapHandler
from xenolith.engine.pv_traps.structures import DS, ES, FS, GS, Gate
from xenolith.engine.unicorn.pv.traps import UnicornVcpuState
from xenolith.engine.unicorn.registers import GENERAL
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.engine.unicorn.pv.engine import UnicornPvEngine

_SYSCALL_BYTES = 2
_MASK64 = (1 << 64) - 1
_CR0_TS = 8
_DR6_INITIAL = 0xFFFF0FF0

_LDT, _GDT, _IDT = 6, 8, 9
"""Descriptor tables, as segment registers of CPUX86State."""
_GDT_LIMIT = 0xFFFF


class UnicornPvVcpu:
    """Registers while it is loaded, a saved context while it is not."""

    def __init__(self, engine: UnicornPvEngine, handler: TrapHandler, number: int) -> None:
        self.registers = engine.registers
        self.handler = handler
        self.context = engine.machine.new_context()
        self.state = UnicornVcpuState()
        self.initial: PvCpuState | None = None
        """What it will start with; None once it has."""
        self._engine = engine
        self._number = number
        self._ldt_address, *gdt_addresses = engine.area.add_vcpu(number)
        self.state.gdt_shown[:] = gdt_addresses
        self._breakpoints: tuple[Sequence[int], int] = ((), 0)

    @property
    def in_kernel(self) -> bool:
        """See PvVcpu."""
        return bool(self.state.in_kernel)

    def reset(self, state: PvCpuState) -> None:
        """See PvVcpu."""
        self.initial = state
        self.set_roots(state.kernel_root, state.user_root)
        self.state.nmi_pending = 0

    def run(self) -> None:
        """See PvVcpu."""
        self._engine.run(self)

    def repeat_hypercall(self) -> None:
        """See PvVcpu."""
        self.registers.rip = self.registers.rip - _SYSCALL_BYTES & _MASK64

    def inject(self, vector: int, error_code: int = 0) -> None:
        """See PvVcpu."""
        self._engine.code.call(self.state, "xenolith_pv_inject", vector, error_code)

    def inject_nmi(self) -> None:
        """See PvVcpu."""
        self.state.nmi_pending = 1

    def use_info(self, address: int) -> None:
        """See PvVcpu."""
        self.state.info = self._engine.host_address(address)

    def set_trap(self, vector: int, gate: TrapGate) -> None:
        """See PvVcpu."""
        self.state.traps[vector] = Gate(*gate)

    def clear_traps(self) -> None:
        """See PvVcpu."""
        ctypes.memset(ctypes.addressof(self.state.traps), 0, ctypes.sizeof(self.state.traps))

    def set_callback(self, kind: int, gate: TrapGate) -> None:
        """See PvVcpu."""
        self.state.callbacks[kind] = Gate(*gate)

    def set_kernel_stack(self, address: GuestVirt) -> None:
        """See PvVcpu."""
        self.state.kernel_sp = address

    @property
    def roots(self) -> tuple[Mfn, Mfn | None]:
        """See PvVcpu."""
        user, kernel = self.state.roots
        return Mfn(kernel >> PAGE_SHIFT), Mfn(user >> PAGE_SHIFT) if user else None

    def set_roots(self, kernel: Mfn, user: Mfn | None) -> None:
        """See PvVcpu."""
        roots = self.state.roots
        roots[1] = kernel << PAGE_SHIFT
        roots[0] = user << PAGE_SHIFT if user is not None else 0
        self.state.flush = 1
        if self._engine.is_loaded(self):
            self.registers.cr3 = roots[self.state.in_kernel]

    def set_gdt(self, frames: Sequence[Mfn]) -> None:
        """See PvVcpu."""
        self.state.gdt[:] = self._engine.area.map_gdt(self._number, frames)
        self.state.flush = 1

    def set_ldt(self, frames: Sequence[Mfn | None], entries: int) -> None:
        """See PvVcpu."""
        self.state.ldt_limit = 8 * entries - 1 if entries else 0
        self.show_ldt(frames)
        if self._engine.is_loaded(self):
            self.registers.write_segment(_LDT, self._ldt_address, self.state.ldt_limit)

    def show_ldt(self, frames: Sequence[Mfn | None]) -> None:
        """See PvVcpu."""
        self.state.ldt[:] = self._engine.area.map_ldt(self._number, frames)
        self.state.flush = 1

    def load_user_gs(self, selector: int) -> None:
        """See PvVcpu."""
        kernel_base = self._base(GS)
        self._load_data_segment(GS, selector)
        self.state.other_gs_base = self._base(GS)
        self._set_base(GS, kernel_base)

    def set_rflags(self, value: int) -> None:
        """See PvVcpu."""
        self._engine.machine.write_eflags(value)

    def set_task_switched(self, on: bool) -> None:
        """See PvVcpu."""
        cr0 = self.registers.cr0
        self._engine.machine.update_cr0(cr0 | _CR0_TS if on else cr0 & ~_CR0_TS)

    def set_breakpoints(self, addresses: Sequence[int], control: int) -> None:
        """See PvVcpu."""
        self._breakpoints = addresses, control
        if self._engine.is_loaded(self):
            self.arm_breakpoints()

    def arm_breakpoints(self) -> None:
        """The vCPU has been loaded: its breakpoints are those that strike."""
        self._engine.breakpoints.arm(*self._breakpoints)

    @property
    def debug_status(self) -> int:
        """See PvVcpu."""
        return self._engine.breakpoints.status

    @debug_status.setter
    def debug_status(self, value: int) -> None:
        self._engine.breakpoints.status = value

    @property
    def fs_base(self) -> int:
        """See PvVcpu."""
        return self._base(FS)

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self._set_base(FS, value)

    @property
    def gs_base_kernel(self) -> int:
        """See PvVcpu."""
        return self._base(GS) if self.state.in_kernel else self.state.other_gs_base

    @gs_base_kernel.setter
    def gs_base_kernel(self, value: int) -> None:
        if self.state.in_kernel:
            self._set_base(GS, value)
        else:
            self.state.other_gs_base = value

    @property
    def gs_base_user(self) -> int:
        """See PvVcpu."""
        return self.state.other_gs_base if self.state.in_kernel else self._base(GS)

    @gs_base_user.setter
    def gs_base_user(self, value: int) -> None:
        if self.state.in_kernel:
            self.state.other_gs_base = value
        else:
            self._set_base(GS, value)

    def enter(self) -> None:
        """Take on the registers that it starts with; the CPU is this vCPU's."""
        state = self.initial
        assert state is not None
        self.initial = None
        own = self.state
        own.in_kernel = int(state.in_kernel)
        own.nmi_masked = 0
        own.kernel_sp = state.kernel_stack
        self.clear_traps()
        for vector, gate in state.traps.items():
            self.set_trap(vector, gate)
        for kind, gate in state.callbacks.items():
            self.set_callback(kind, gate)
        self.set_gdt(state.gdt)
        self.set_roots(state.kernel_root, state.user_root)
        self._load_tables()
        registers = self.registers
        registers.file[:16] = _general(state)
        registers.rsp, registers.rip = state.rsp, state.rip
        self._engine.machine.write_eflags(state.rflags)
        selectors = (state.ds, state.es, state.fs, state.gs)
        loaded = [
            self._load_data_segment(segment, selector)
            for segment, selector in zip((DS, ES, FS, GS), selectors, strict=True)
        ]
        self.fs_base = state.fs_base
        self.gs_base_kernel, self.gs_base_user = state.gs_base_kernel, state.gs_base_user
        code = self._engine.code
        if not code.call(own, "xenolith_pv_start", state.cs, state.ss):
            raise EngineError(f"a vCPU cannot start with CS {state.cs:#x} and SS {state.ss:#x}")
        self.debug_status = _DR6_INITIAL
        self.arm_breakpoints()
        if not all(loaded):
            code.call(own, "xenolith_pv_fail_safe", *selectors)

    def _load_tables(self) -> None:
        """Point the processor's table registers at where this vCPU's tables are shown."""
        registers = self.registers
        registers.write_segment(_GDT, self.state.gdt_shown[self.state.in_kernel], _GDT_LIMIT)
        registers.write_segment(_LDT, self._ldt_address, self.state.ldt_limit)
        registers.write_segment(_IDT, 0, 0)

    def _load_data_segment(self, number: int, selector: int) -> bool:
        code = self._engine.code
        return bool(code.call(self.state, "xenolith_pv_load_data_segment", number, selector))

    def _base(self, segment: int) -> int:
        return self.registers.segment_base(segment)

    def _set_base(self, segment: int, value: int) -> None:
        self.registers.set_segment_base(segment, value)


def _general(state: PvCpuState) -> memoryview:
    values = [0] * 16
    for name, value in state.general.items():
        values[GENERAL[name]] = value
    return memoryview(b"".join(value.to_bytes(8, "little") for value in values)).cast("Q")
