"""The Unicorn engine for PV vCPUs: the emulator walks the guest's own page tables, and its traps bounce in C.

Machine frame n of the domain is at physical address n * 4096 of the emulated machine; the engine's own memory lies
above all that a domain can have.
"""

from __future__ import annotations

import ctypes

from xenolith.engine.hvm import EngineError
from xenolith.engine.pv import NativeCalls, TrapHandler
from xenolith.engine.pv_traps.calls import TrapCalls
from xenolith.engine.pv_traps.code import PrivateRange, TrapCode
from xenolith.engine.pv_traps.numbers import (
    CR0_PG_AM_WP_NE_ET_MP_PE,
    CR4_PAE_FXSR_XMM,
    EFER_NXE_LMA_LME_SCE,
)
from xenolith.engine.table_changes import TableChanges
from xenolith.engine.unicorn.machine import EmulatedMachine
from xenolith.engine.unicorn.private_memory import PrivateMemory
from xenolith.engine.unicorn.pv.breakpoints import Breakpoints
from xenolith.engine.unicorn.pv.counting_loop import finish_counting_loop
from xenolith.engine.unicorn.pv.pauses import PauseWatch
from xenolith.engine.unicorn.pv.reserved_area import M2P_START, ReservedArea
from xenolith.engine.unicorn.pv.traps import hook_traps, load_traps, new_trap_context
from xenolith.engine.unicorn.pv.vcpu import UnicornPvVcpu
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestVirt, Mfn
from xenolith.machine.memory import MachineMemory

_PRIVATE_BASE = (1 << 40) - (4 << 30)
"""The emulated CPU has 40-bit addresses, and the last 4 GiB of them are the engine's."""
_PRIVATE_BYTES = 2 << 30

_REG_CR0, _REG_CR4 = 50, 54
_MSR_EFER = 0xC0000080

_LOW32 = 0xFFFFFFFF

_STARTING_SLICE_US = 10_000
_STARTING_SLICES = 200
"""For how many such slices a kernel counts as starting."""
_LOOPS = 10_000
"""How often a loop that once only counted may turn out to do other things before it is left alone."""
_CODE_BYTES = 16


class UnicornPvEngine:
    """One domain's engine, over its memory; all of it but :meth:`kick` belongs to one thread."""

    m2p_start = M2P_START
    changes: TableChanges | None = None
    xcr0 = 0

    def __init__(self, memory: MachineMemory) -> None:
        if memory.size > _PRIVATE_BASE:
            raise EngineError("a PV domain of the unicorn engine has less than 1020 GiB of memory")
        self._memory = memory
        private = PrivateMemory(_PRIVATE_BASE, _PRIVATE_BYTES)
        self.area = ReservedArea(private, memory.frames)
        self.m2p = self.area.m2p
        self.m2p_end: GuestVirt = self.area.m2p_end
        self.machine = machine = EmulatedMachine()
        # Both maps live as long as this object, and the emulator ends before, in close().
        machine.add_memory(0, memory.size, memory.address)
        machine.add_memory(_PRIVATE_BASE, _PRIVATE_BYTES, private.host_address)
        machine.start_up()
        machine.write_msr(_MSR_EFER, EFER_NXE_LMA_LME_SCE)
        machine.write_register(_REG_CR4, CR4_PAE_FXSR_XMM)
        machine.write_register(_REG_CR0, CR0_PG_AM_WP_NE_ET_MP_PE)
        self._private = private
        self.registers = machine.registers
        self._traps = load_traps()
        self._calls = TrapCalls(self.stop)
        context = new_trap_context(machine, self._on_cpuid)
        self.code = TrapCode(
            self._traps,
            context,
            memory,
            PrivateRange(private.base, private.size, private.host_address),
            self._calls,
        )
        hook_traps(machine, self.code.context_address)
        self.breakpoints = Breakpoints(machine)
        self._blank_context = machine.new_context()
        machine.save(self._blank_context)
        self._current: UnicornPvVcpu | None = None
        self._vcpus = 0
        self._pauses: PauseWatch | None = None
        self._starting_slices = _STARTING_SLICES
        self._loops_left = _LOOPS
        self._code = ctypes.create_string_buffer(_CODE_BYTES)

    def counts(self) -> dict[str, int]:
        """See PvEngine: traps cost too little to be counted."""
        return {}

    def new_vcpu(self, handler: TrapHandler) -> UnicornPvVcpu:
        """See PvEngine."""
        number, self._vcpus = self._vcpus, self._vcpus + 1
        if number == 1:
            # A vCPU that is alone has nobody to wait for.
            read = ctypes.cast(self._traps.xenolith_pv_read, ctypes.c_void_p).value or 0
            self._pauses = PauseWatch(self.machine, read, self.code.context_address, self._on_pause)
        return UnicornPvVcpu(self, handler, number)

    def fill_reserved_slots(self, level4: Mfn) -> None:
        """See PvEngine."""
        self.area.fill_slots(self._memory.frame(level4).cast("Q"))

    def flush_tlb(self) -> None:
        """See PvEngine."""
        self.machine.flush_tlb()

    def invalidate_page(self, address: GuestVirt) -> None:
        """See PvEngine."""
        self.machine.invalidate_page(address)

    def call_natively(self, calls: NativeCalls | None) -> None:
        """See PvEngine."""
        self.code.call_natively(calls)

    def run(self, vcpu: UnicornPvVcpu) -> None:
        """Run one of the engine's own vCPUs."""
        self._load(vcpu)
        self.code.call(vcpu.state, "xenolith_pv_resume")
        timeout = _STARTING_SLICE_US if self._starting_slices else 0
        error = 0 if self._calls.has_failed else self.machine.run(timeout)
        self._calls.raise_failure()
        self.machine.check_run(error)
        if timeout:
            self._look_for_loop()

    def stop(self) -> None:
        """See PvEngine."""
        self.machine.stop()

    kick = stop

    def invalidate_code(self, mfn: Mfn, count: int) -> None:
        """See PvEngine."""
        self.machine.invalidate_code(
            self._memory.address + (mfn << PAGE_SHIFT), count << PAGE_SHIFT
        )

    def forget_code(self) -> None:
        """See Engine."""
        self.machine.forget_code()

    def tsc(self) -> int:
        """See PvEngine."""
        return self.machine.tsc()

    def base_cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """See PvEngine."""
        return self.machine.cpuid(leaf, subleaf)

    def close(self) -> None:
        """Release the emulator; neither the engine nor its vCPUs may be used afterwards."""
        self.machine.close()
        if self._pauses is not None:
            self._pauses.end()

    def _on_cpuid(self) -> None:
        """CPUID; RIP will be moved behind it."""
        registers = self.registers
        with self._calls:
            registers.rax, registers.rbx, registers.rcx, registers.rdx = self._calls.handler.cpuid(
                registers.rax & _LOW32, registers.rcx & _LOW32
            )

    def _on_pause(self) -> None:
        with self._calls:
            self._calls.handler.pause()

    def _look_for_loop(self) -> None:
        """Get a kernel that is starting out of a loop that only counts, now and whenever it is there again."""
        self._starting_slices -= 1
        if not (self.registers.long_mode and finish_counting_loop(self.registers, self._code_at)):
            return
        self._starting_slices = 0
        self.machine.watch_code(self.registers.rip, self._finish_loop)

    def _finish_loop(self) -> None:
        """The loop's code is about to be executed."""
        if self._loops_left and not finish_counting_loop(self.registers, self._code_at):
            self._loops_left -= 1

    def _code_at(self, address: int) -> bytes:
        """Code of the vCPU that is loaded, as far as it lies in one page; b"" where there is none."""
        size = min(_CODE_BYTES, PAGE_SIZE - address % PAGE_SIZE)
        read = self._traps.xenolith_pv_read(self.code.context_address, address, self._code, size)
        return self._code.raw[:size] if read else b""

    def is_loaded(self, vcpu: UnicornPvVcpu) -> bool:
        """Whether the processor holds the registers of a vCPU."""
        return self._current is vcpu

    def _load(self, vcpu: UnicornPvVcpu) -> None:
        """Make a vCPU the one whose registers the CPU holds."""
        current = self._current
        if current is vcpu and vcpu.initial is None:
            return
        if current is not None and current is not vcpu:
            self.breakpoints.disarm()
            self.machine.save(current.context)
        self._current = vcpu
        self._calls.handler = vcpu.handler
        self.code.run_with(vcpu.state)
        if vcpu.initial is not None:
            self.machine.restore(self._blank_context)
            vcpu.enter()
        elif current is not vcpu:
            self.machine.restore(vcpu.context)
            vcpu.go_on_after_another()
        self.machine.flush_tlb()
