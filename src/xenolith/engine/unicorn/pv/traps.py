"""Binds the C hooks of a PV guest to one machine: the structures that they read, and the calls back.

The structures are those of engine_context.h; the first comment of _traps.c says what the hooks do.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Protocol

from xenolith.engine.pv_traps.structures import (
    CrashCallback,
    FaultCallback,
    HypercallCallback,
    TrapContext,
    VcpuState,
    load_entry_points,
)
from xenolith.engine.unicorn.library import (
    HOOK_INSN,
    HOOK_INSN_INVALID,
    HOOK_INTR,
    HOOK_MEM_UNMAPPED,
    INS_CPUID,
    INS_IN,
    INS_OUT,
    INS_SYSCALL,
    INS_SYSENTER,
)
from xenolith.engine.unicorn.machine import EmulatedMachine

_KERNEL_ADDRESSES = (0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)

CpuidCallback = ctypes.CFUNCTYPE(None)


class UnicornVcpuState(VcpuState):
    """struct vcpu with this engine's struct engine_vcpu."""

    _fields_ = (
        ("gdt_shown", c_uint64 * 2),
        ("flush", c_uint32),
    )


class UnicornTrapContext(TrapContext):
    """struct trap_context with this engine's struct engine_context."""

    _fields_ = (
        ("cpu", c_void_p),
        ("env", c_void_p),
        ("registers", c_void_p),
        ("hflags", c_void_p),
        ("segments", c_void_p),
        ("control", c_void_p),
        ("exception_is_int", c_void_p),
        ("old_exception", c_void_p),
        ("read_eflags", c_void_p),
        ("write_eflags", c_void_p),
        ("update_cr0", c_void_p),
        ("raise_event", c_void_p),
        ("flush_tlb", c_void_p),
        ("flush_page", c_void_p),
        ("on_cpuid", CpuidCallback),
    )


class TrapSink(Protocol):
    """What the hooks call in turn; nothing may be raised from any of it."""

    def on_hypercall(self) -> None:
        """SYSCALL out of the guest's kernel, RIP behind it."""

    def on_fault(self, vector: int, error_code: int, address: int) -> int:
        """A fault that may be the hypervisor's business; nonzero if it is done with."""

    def on_cpuid(self) -> None:
        """CPUID; RIP will be moved behind it."""

    def on_crash(self, why: int, detail: int) -> None:
        """The guest cannot go on, for one of CRASHES."""


@cache
def load_traps() -> ctypes.CDLL:
    """The C hooks beside this module."""
    hooks = load_entry_points(__file__, "_traps", UnicornTrapContext, UnicornVcpuState)
    hooks.xenolith_pv_resume.argtypes = [c_void_p]
    hooks.xenolith_pv_read.argtypes = [c_void_p, c_uint64, c_void_p, c_uint64]
    return hooks


class PrivateRange(Protocol):
    """The memory that the engine keeps for itself."""

    base: int
    size: int
    host_address: int


def install_traps(
    machine: EmulatedMachine, memory: tuple[int, int], private: PrivateRange, sink: TrapSink
) -> UnicornTrapContext:
    """Hook all by which a guest leaves its code; the caller keeps the result alive.

    ``memory`` is where the host has machine memory, and its size in bytes.
    """
    env, layout, library = machine.env, machine.layout, machine.library
    context = UnicornTrapContext(
        cpu=machine.cpu,
        env=env,
        registers=env,
        hflags=env + layout.hflags,
        segments=env + layout.segments,
        control=env + layout.control,
        exception_is_int=env + layout.exception_is_int,
        old_exception=machine.cpu + layout.old_exception,
        read_eflags=library.address("helper_read_eflags_x86_64"),
        write_eflags=library.address("helper_write_eflags_x86_64"),
        update_cr0=library.address("cpu_x86_update_cr0_x86_64"),
        raise_event=library.address("raise_interrupt_x86_64"),
        flush_tlb=library.address("tlb_flush_x86_64"),
        flush_page=library.address("tlb_flush_page_x86_64"),
        memory=memory[0],
        memory_size=memory[1],
        private_memory=private.host_address,
        private_base=private.base,
        private_size=private.size,
        on_hypercall=HypercallCallback(sink.on_hypercall),
        on_fault=FaultCallback(sink.on_fault),
        on_cpuid=CpuidCallback(sink.on_cpuid),
        on_crash=CrashCallback(sink.on_crash),
    )
    hooks = load_traps()

    def hook(kind: int, name: str, *instruction: int) -> None:
        address = ctypes.cast(getattr(hooks, name), c_void_p).value or 0
        library.add_hook(
            machine.handle, kind, address, *instruction, context=ctypes.addressof(context)
        )

    hook(HOOK_INTR, "xenolith_pv_on_interrupt")
    hook(HOOK_INSN_INVALID, "xenolith_pv_on_invalid_instruction")
    hook(HOOK_INSN, "xenolith_pv_on_syscall", INS_SYSCALL)
    hook(HOOK_INSN, "xenolith_pv_on_sysenter", INS_SYSENTER)
    hook(HOOK_INSN, "xenolith_pv_on_port_read", INS_IN)
    hook(HOOK_INSN, "xenolith_pv_on_port_write", INS_OUT)
    hook(HOOK_INSN, "xenolith_pv_on_cpuid", INS_CPUID)
    unmapped = ctypes.cast(hooks.xenolith_pv_on_unmapped, c_void_p).value or 0
    library.add_hook(
        machine.handle,
        HOOK_MEM_UNMAPPED,
        unmapped,
        context=ctypes.addressof(context),
        addresses=_KERNEL_ADDRESSES,
    )
    return context
