"""One PV vCPU on KVM: the state by which its traps bounce, and the registers it is entered with."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.processor import Processor
from xenolith.engine.kvm.pv import reserved_area, ring_0
from xenolith.engine.kvm.pv.registers import GENERAL, KvmPvRegisters
from xenolith.engine.kvm.pv.traps import KvmVcpuState
from xenolith.engine.kvm.structures import Segment
from xenolith.engine.pv import PvCpuState, TrapGate, TrapHandler
from xenolith.engine.pv_traps.structures import DS, ES, FS, GS, Gate
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn

if TYPE_CHECKING:
    from xenolith.engine.kvm.pv.engine import KvmPvEngine

_SYSCALL_BYTES = 2
_MASK64 = (1 << 64) - 1
_CR0_TS = 8
_DR7_OFF = 0x400
_CR0_PG_AM_WP_NE_ET_MP_PE = 0x80050033
_CR4_PAE_FXSR_XMM = 0x620
_EFER_NXE_LMA_LME_SCE = 0xD01
_APIC_BASE = 0xFEE00800
_GDT_LIMIT, _IDT_LIMIT = 0xFFFF, 0xFFF
_BUSY_TASK, _TABLE = 11, 2
_STAR, _LSTAR, _CSTAR, _FMASK = range(0xC0000081, 0xC0000085)


class KvmPvVcpu:
    """A vCPU of KVM's own; implements PvVcpu."""

    def __init__(self, engine: KvmPvEngine, handler: TrapHandler, number: int) -> None:
        self.handler = handler
        self.processor = Processor(engine.machine, number)
        self.run_page = self.processor.run
        self.special = self.run_page.s.sregs
        self.state = KvmVcpuState(
            fd=self.processor.fd, run=ctypes.addressof(self.run_page), in_kernel=1
        )
        self.registers = KvmPvRegisters(self.state, self.special)
        self._engine = engine
        self._number = number
        self._ldt_address, self._gdt_address, self._task, task = engine.area.add_vcpu(number)
        task_state = ring_0.task_state(self._task + PAGE_SIZE, self._task + PAGE_SIZE // 2)
        ctypes.memmove(task, task_state, len(task_state))
        self.state.trap_frame = task + PAGE_SIZE
        self._started = False
        self._breakpoints: tuple[Sequence[int], int] = ((), _DR7_OFF)
        self._bad_selectors: tuple[int, int, int, int] | None = None
        """Of its data segments, as it starts."""

    @property
    def in_kernel(self) -> bool:
        """See PvVcpu."""
        return bool(self.state.in_kernel)

    def reset(self, state: PvCpuState) -> None:
        """See PvVcpu."""
        if not self._started:
            self._started = True
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
        own = self.state
        own.in_kernel = int(state.in_kernel)
        own.nmi_masked = own.nmi_pending = 0
        own.kernel_sp = state.kernel_stack
        self.clear_traps()
        for vector, gate in state.traps.items():
            self.set_trap(vector, gate)
        for kind, gate in state.callbacks.items():
            self.set_callback(kind, gate)
        self.set_gdt(state.gdt)
        self.set_ldt((), 0)
        self.set_roots(state.kernel_root, state.user_root)
        self._load_special_registers()
        registers = self.registers
        for number in range(len(registers.file)):
            registers.file[number] = 0
        for name, value in state.general.items():
            registers.file[GENERAL[name]] = value
        registers.rsp, registers.rip = state.rsp, state.rip
        own.rflags = state.rflags | 2
        selectors = (state.ds, state.es, state.fs, state.gs)
        loaded = [
            self._load_data_segment(number, selector)
            for number, selector in zip((DS, ES, FS, GS), selectors, strict=True)
        ]
        self._bad_selectors = None if all(loaded) else selectors
        self.fs_base = state.fs_base
        self.gs_base_kernel, self.gs_base_user = state.gs_base_kernel, state.gs_base_user
        if not self._engine.code.call(self.state, "xenolith_pv_start", state.cs, state.ss):
            raise EngineError(f"a vCPU cannot start with CS {state.cs:#x} and SS {state.ss:#x}")

    def run(self) -> None:
        """See PvVcpu."""
        self._engine.run(self)

    def look_at_selectors(self) -> None:
        """It goes on after another vCPU: have its kernel mend what selectors are none."""
        if self._bad_selectors is not None:
            self._engine.code.call(self.state, "xenolith_pv_fail_safe", *self._bad_selectors)
            self._bad_selectors = None
        else:
            self._engine.code.call(self.state, "xenolith_pv_reload_data_segments")

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
        self.state.roots[1] = kernel << PAGE_SHIFT
        self.state.roots[0] = user << PAGE_SHIFT if user is not None else 0
        self._engine.flush_tlb()

    def set_gdt(self, frames: Sequence[Mfn]) -> None:
        """See PvVcpu."""
        self.state.gdt[:] = self._engine.area.map_gdt(self._number, frames)
        self._engine.flush_tlb()

    def set_ldt(self, frames: Sequence[Mfn | None], entries: int) -> None:
        """See PvVcpu."""
        self.show_ldt(frames)
        self.state.ldt_limit = 8 * entries - 1 if entries else 0
        self._load_ldt()

    def show_ldt(self, frames: Sequence[Mfn | None]) -> None:
        """See PvVcpu."""
        self.state.ldt[:] = self._engine.area.map_ldt(self._number, frames)
        self._engine.flush_tlb()

    def load_user_gs(self, selector: int) -> None:
        """See PvVcpu."""
        kernel_base = self.special.gs.base
        self._load_data_segment(GS, selector)
        self.state.other_gs_base = self.special.gs.base
        self.special.gs.base = kernel_base

    def set_rflags(self, value: int) -> None:
        """See PvVcpu."""
        self.state.rflags = value

    def set_task_switched(self, on: bool) -> None:
        """See PvVcpu."""
        cr0 = self.special.cr0
        self.special.cr0 = cr0 | _CR0_TS if on else cr0 & ~_CR0_TS

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

    @property
    def fs_base(self) -> int:
        """See PvVcpu."""
        value: int = self.special.fs.base
        return value

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self.special.fs.base = value

    @property
    def gs_base_kernel(self) -> int:
        """See PvVcpu."""
        value: int = self.special.gs.base if self.state.in_kernel else self.state.other_gs_base
        return value

    @gs_base_kernel.setter
    def gs_base_kernel(self, value: int) -> None:
        if self.state.in_kernel:
            self.special.gs.base = value
        else:
            self.state.other_gs_base = value

    @property
    def gs_base_user(self) -> int:
        """See PvVcpu."""
        value: int = self.state.other_gs_base if self.state.in_kernel else self.special.gs.base
        return value

    @gs_base_user.setter
    def gs_base_user(self, value: int) -> None:
        if self.state.in_kernel:
            self.state.other_gs_base = value
        else:
            self.special.gs.base = value

    def _load_special_registers(self) -> None:
        special = self.special
        special.cr0 = _CR0_PG_AM_WP_NE_ET_MP_PE
        special.cr4 = _CR4_PAE_FXSR_XMM | self._engine.extended_state.cr4
        special.efer = _EFER_NXE_LMA_LME_SCE
        special.apic_base = _APIC_BASE
        special.gdt.base, special.gdt.limit = self._gdt_address, _GDT_LIMIT
        special.idt.base, special.idt.limit = reserved_area.INTERRUPT_TABLE, _IDT_LIMIT
        special.tr = Segment(
            base=self._task,
            limit=ring_0.TASK_STATE_BYTES - 1,
            selector=ring_0.TASK_SELECTOR,
            type=_BUSY_TASK,
            present=1,
        )
        self._load_ldt()

    def _load_ldt(self) -> None:
        self.special.ldt = Segment(
            base=self._ldt_address,
            limit=self.state.ldt_limit,
            selector=ring_0.TASK_SELECTOR + 16 if self.state.ldt_limit else 0,
            type=_TABLE,
            present=int(self.state.ldt_limit > 0),
            unusable=int(not self.state.ldt_limit),
        )

    def _load_data_segment(self, number: int, selector: int) -> bool:
        return bool(
            self._engine.code.call(self.state, "xenolith_pv_load_data_segment", number, selector)
        )
