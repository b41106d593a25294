"""One emulated machine of the Unicorn library with one processor: what HVM and PV engines have in common."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_void_p
from functools import cache

from xenolith.engine.hvm import EngineError
from xenolith.engine.unicorn.code_buffer import open_ahead, open_machine
from xenolith.engine.unicorn.cpu_layout import find_layout, write_msr
from xenolith.engine.unicorn.library import (
    CTL_TB_FLUSH,
    HOOK_CODE,
    PROT_ALL,
    RUN_ABORTED,
    CodeCallback,
    Library,
    load_hooks,
)
from xenolith.engine.unicorn.registers import UnicornRegisters
from xenolith.engine.unicorn.short_cuts import (
    leave_short_cuts,
    prepare_short_cuts,
    take_short_cuts,
)
from xenolith.machine import tsc

_RFLAGS_FIXED, _RFLAGS_WRITABLE = 2, 0x277FD5


@cache
def load_library() -> Library:
    """The library, loaded once per process and those forked from it."""
    return Library()


def prepare_machine() -> None:
    """Load the library, verify its layout, and take a first look at the TSC. Forks keep all of it."""
    library = load_library()
    find_layout(library)
    load_hooks()
    prepare_short_cuts(library)
    open_ahead(library)
    tsc.frequency(library.read_tsc)


class EmulatedMachine:
    """A machine without memory; all of it but :meth:`stop` belongs to one thread."""

    def __init__(self) -> None:
        self.library = library = load_library()
        self.layout = find_layout(library)
        self._opened = open_machine(library)
        self.handle = self._opened.handle
        self._callbacks: list[object] = []
        """What the library calls, kept alive."""

    def add_memory(self, address: int, size: int, host_address: int) -> None:
        """Back machine addresses by memory of the host, which must outlive the machine."""
        self.library.check(
            self.library.mem_map_ptr(self.handle, address, size, PROT_ALL, host_address),
            "map memory",
        )

    def start_up(self) -> None:
        """Make the processor usable; memory can still be added afterwards, registers only be looked for now."""
        # Verified offset: requests to stop are then honoured between translation blocks only.
        flag = (self.handle.value or 0) + self.layout.no_exit_request
        ctypes.c_uint8.from_address(flag).value = 1
        self.cpu = self._opened.cpu
        self.env = self.cpu + self.layout.env
        self.registers = UnicornRegisters(self.env, self.layout, self.library.read_eflags)
        take_short_cuts(self.library, self.handle, self.cpu)
        hooks = load_hooks()
        hooks.xenolith_catch_aborts()
        self._run = hooks.xenolith_run
        self._emu_start = self.library.address("uc_emu_start")

    def run(self, timeout_us: int = 0) -> int:
        """Execute from RIP on until :meth:`stop`; the library's error number, for :meth:`check_run`."""
        error: int = self._run(self._emu_start, self.handle, self.registers.rip, timeout_us)
        return error

    def check_run(self, error: int) -> None:
        """EngineError if :meth:`run` ended by itself: to be asked after what a hook has to report."""
        if error == RUN_ABORTED:
            raise EngineError("unicorn has given up: the processor is in a state that it rules out")
        self.library.check(error, "run the guest")

    def stop(self) -> None:
        """Make :meth:`run` return; from any thread."""
        self.library.emu_stop(self.handle)

    def flush_tlb(self) -> None:
        """Forget all translations of addresses."""
        self.library.tlb_flush(self.cpu)

    def invalidate_page(self, address: int) -> None:
        """Forget the translations of one page."""
        self.library.tlb_flush_page(self.cpu, address)

    def write_register(self, register: int, value: int) -> None:
        """Write a register by its number in the library's API."""
        word = ctypes.c_uint64(value)
        self.library.check(
            self.library.reg_write(self.handle, register, ctypes.byref(word)), "write a register"
        )

    def read_register(self, register: int) -> int:
        """Read a register by its number in the library's API."""
        word = ctypes.c_uint64()
        self.library.check(
            self.library.reg_read(self.handle, register, ctypes.byref(word)), "read a register"
        )
        return word.value

    def write_msr(self, msr: int, value: int) -> None:
        """Write an MSR."""
        write_msr(self.library, self.handle, msr, value)

    def update_cr0(self, value: int) -> None:
        """Write CR0 from within a hook."""
        self.library.update_cr0(self.env, value)

    def write_eflags(self, value: int) -> None:
        """Write all flags."""
        self.library.write_eflags(self.env, value | _RFLAGS_FIXED, _RFLAGS_WRITABLE)

    def new_context(self) -> c_void_p:
        """Space for all registers, those of the FPU included."""
        context = c_void_p()
        self.library.check(
            self.library.context_alloc(self.handle, ctypes.byref(context)), "allocate a context"
        )
        return context

    def save(self, context: c_void_p) -> None:
        """Keep the registers in a context."""
        self.library.context_save(self.handle, context)

    def restore(self, context: c_void_p) -> None:
        """Take the registers from a context; the caller flushes the TLB."""
        self.library.context_restore(self.handle, context)

    def invalidate_code(self, host_address: int, size: int) -> None:
        """Forget code translated from memory of the host that the machine has."""
        start = self.library.ram_address(self.handle, c_void_p(host_address))
        self.library.invalidate_code(self.handle, start, start + size)

    def watch_code(self, address: int, about_to_run: Callable[[], None]) -> None:
        """From now on call back before the instruction at an address; not while the machine runs."""

        def called(_machine: int, _address: int, _size: int, _data: int) -> None:
            about_to_run()

        callback = CodeCallback(called)
        self._callbacks.append(callback)
        target = ctypes.cast(callback, c_void_p).value or 0
        self.library.add_hook(self.handle, HOOK_CODE, target, addresses=(address, address))
        # Code that is translated already does not call.
        self.library.check(self.library.uc_ctl(self.handle, CTL_TB_FLUSH), "flush its code")

    def forget_code(self) -> None:
        """Give the memory of translated code back; not while the machine runs."""
        self._opened.forget_code()

    def tsc(self) -> int:
        """The time stamp counter as the guest reads it."""
        value: int = self.library.read_tsc()
        return value

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """What the emulated processor would answer."""
        out = (ctypes.c_uint32 * 4)()
        addresses = [ctypes.addressof(out) + 4 * index for index in range(4)]
        self.library.cpuid(self.env, leaf, subleaf, *addresses)
        return out[0], out[1], out[2], out[3]

    def close(self) -> None:
        """Release the emulator, which must not be used afterwards."""
        self.library.close(self.handle)
        leave_short_cuts(self.handle)
