"""A PV vCPU as both engines have it: the state by which its traps bounce, and how it takes on its first registers.

The state is struct vcpu of trap_context.h; tables and segments are loaded as by arch_set_info_guest() and
load_segments() of xen/arch/x86/domain.c.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import PvCpuState, TrapGate, TrapHandler
from xenolith.engine.pv_traps.code import TrapCode
from xenolith.engine.pv_traps.numbers import DS, ES, FS, GS, SYSCALL_BYTES
from xenolith.engine.pv_traps.structures import Gate, VcpuState
from xenolith.engine.register_file import GENERAL, MASK64
from xenolith.machine.address import PAGE_SHIFT, GuestVirt, Mfn

_RFLAGS_FIXED = 2
_USER, _KERNEL = 0, 1
"""Modes, as in_kernel of struct vcpu has them."""


class TrapRegisters(Protocol):
    """The registers of a PV vCPU that stands still, as far as this module has to do with them."""

    rsp: int
    rip: int

    def set_general(self, number: int, value: int) -> None:
        """See RegisterFile."""

    def segment_base(self, number: int) -> int:
        """The base of a segment register by its number in instructions."""

    def set_segment_base(self, number: int, base: int) -> None:
        """Write that."""


class DescriptorTables(Protocol):
    """Where an engine shows vCPUs their descriptor tables; what is returned are their pages' machine addresses."""

    def map_gdt(self, number: int, frames: Sequence[Mfn]) -> list[int]:
        """Show a vCPU's global descriptor table, with nothing where there is no frame."""

    def map_ldt(self, number: int, frames: Sequence[Mfn | None]) -> list[int]:
        """Show its local descriptor table likewise."""


def _gs_base(mode: int) -> property:
    """The base of GS in a mode: it is in the register only while the vCPU is in that mode."""

    def read(self: TrapVcpu) -> int:
        other: int = self.state.other_gs_base
        return self._registers.segment_base(GS) if self.state.in_kernel == mode else other

    def write(self: TrapVcpu, value: int) -> None:
        if self.state.in_kernel == mode:
            self._registers.set_segment_base(GS, value)
        else:
            self.state.other_gs_base = value

    return property(read, write)


class TrapVcpu(ABC):
    """What PvVcpu asks for, but for what is the processor's; the C code reads the same state."""

    def __init__(
        self,
        handler: TrapHandler,
        state: VcpuState,
        registers: TrapRegisters,
        code: TrapCode,
        tables: DescriptorTables,
        number: int,
    ) -> None:
        self.handler = handler
        self.state = state
        self.initial: PvCpuState | None = None
        """What it will start with; None once it has."""
        self._registers = registers
        self._code = code
        self._tables = tables
        self._number = number

    @abstractmethod
    def forget_translations(self) -> None:
        """What the processor has translated for this vCPU must not be used any more when it goes on."""

    @abstractmethod
    def set_rflags(self, value: int) -> None:
        """See PvVcpu."""

    @abstractmethod
    def load_ldt(self) -> None:
        """Tell the processor of the local descriptor table, if it holds the registers of this vCPU."""

    @abstractmethod
    def load_special_registers(self) -> None:
        """Have the processor's own registers, those of tables included, be what a PV guest runs with."""

    def reset(self, state: PvCpuState) -> None:
        """See PvVcpu."""
        self.initial = state
        self.state.in_kernel = int(state.in_kernel)
        self.state.nmi_pending = 0
        self.set_ldt((), 0)
        self.set_roots(state.kernel_root, state.user_root)

    def enter(self) -> None:
        """Take on the registers that it starts with; the processor is this vCPU's."""
        state, self.initial = self.initial, None
        assert state is not None
        own, registers = self.state, self._registers
        own.nmi_masked = 0
        own.kernel_sp = state.kernel_stack
        self.clear_traps()
        for vector, gate in state.traps.items():
            self.set_trap(vector, gate)
        for kind, gate in state.callbacks.items():
            self.set_callback(kind, gate)
        self.set_gdt(state.gdt)
        self.load_special_registers()
        for number in GENERAL.values():
            registers.set_general(number, 0)
        for name, value in state.general.items():
            registers.set_general(GENERAL[name], value)
        registers.rsp, registers.rip = state.rsp, state.rip
        self.set_rflags(state.rflags | _RFLAGS_FIXED)
        selectors = (state.ds, state.es, state.fs, state.gs)
        loaded = [
            self._load_data_segment(segment, selector)
            for segment, selector in zip((DS, ES, FS, GS), selectors, strict=True)
        ]
        self.fs_base = state.fs_base
        self.gs_base_kernel, self.gs_base_user = state.gs_base_kernel, state.gs_base_user
        if not self._code.call(own, "xenolith_pv_start", state.cs, state.ss):
            raise EngineError(f"a vCPU cannot start with CS {state.cs:#x} and SS {state.ss:#x}")
        if not all(loaded):
            self._code.call(own, "xenolith_pv_fail_safe", *selectors)

    def go_on_after_another(self) -> None:
        """The processor is this vCPU's again: have its kernel mend what selectors are none by now."""
        self._code.call(self.state, "xenolith_pv_reload_data_segments")

    def repeat_hypercall(self) -> None:
        """See PvVcpu."""
        self._registers.rip = self._registers.rip - SYSCALL_BYTES & MASK64

    def inject(self, vector: int, error_code: int = 0) -> None:
        """See PvVcpu."""
        self._code.call(self.state, "xenolith_pv_inject", vector, error_code)

    def inject_nmi(self) -> None:
        """See PvVcpu."""
        self.state.nmi_pending = 1

    def use_info(self, address: int) -> None:
        """See PvVcpu."""
        self.state.info = self._code.host_address(address)

    def set_trap(self, vector: int, gate: TrapGate) -> None:
        """See PvVcpu."""
        self.state.traps[vector] = Gate(*gate)

    def has_trap(self, vector: int) -> bool:
        """See PvVcpu."""
        return bool(self.state.traps[vector].address)

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
    def in_kernel(self) -> bool:
        """See PvVcpu."""
        return bool(self.state.in_kernel)

    @property
    def roots(self) -> tuple[Mfn, Mfn | None]:
        """See PvVcpu."""
        user, kernel = self.state.roots
        return Mfn(kernel >> PAGE_SHIFT), Mfn(user >> PAGE_SHIFT) if user else None

    def set_roots(self, kernel: Mfn, user: Mfn | None) -> None:
        """See PvVcpu."""
        self.state.roots[1] = kernel << PAGE_SHIFT
        self.state.roots[0] = user << PAGE_SHIFT if user is not None else 0
        self.forget_translations()

    def set_gdt(self, frames: Sequence[Mfn]) -> None:
        """See PvVcpu."""
        self.state.gdt[:] = self._tables.map_gdt(self._number, frames)
        self.forget_translations()

    def set_ldt(self, frames: Sequence[Mfn | None], entries: int) -> None:
        """See PvVcpu."""
        self.state.ldt_limit = 8 * entries - 1 if entries else 0
        self.show_ldt(frames)
        self.load_ldt()

    def show_ldt(self, frames: Sequence[Mfn | None]) -> None:
        """See PvVcpu."""
        self.state.ldt[:] = self._tables.map_ldt(self._number, frames)
        self.forget_translations()

    def load_user_gs(self, selector: int) -> None:
        """See PvVcpu."""
        kernel_base = self.gs_base_kernel
        self._load_data_segment(GS, selector)
        self.gs_base_user, self.gs_base_kernel = self.gs_base_kernel, kernel_base

    @property
    def fs_base(self) -> int:
        """See PvVcpu."""
        return self._registers.segment_base(FS)

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self._registers.set_segment_base(FS, value)

    gs_base_user, gs_base_kernel = _gs_base(_USER), _gs_base(_KERNEL)

    def _load_data_segment(self, number: int, selector: int) -> bool:
        return bool(self._code.call(self.state, "xenolith_pv_load_data_segment", number, selector))
