"""Binds the C hooks of a PV guest to one machine: the structures that they read, and the calls back.

The structures are those of engine_context.h; the first comment of _traps.c says what the hooks do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_uint32, c_uint64, c_void_p
from functools import cache

from xenolith.engine.pv_traps.structures import (
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
        ("faults_cpuid", c_uint32),
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


@cache
def load_traps() -> ctypes.CDLL:
    """The C hooks beside this module."""
    hooks = load_entry_points(__file__, "_traps", UnicornTrapContext, UnicornVcpuState)
    hooks.xenolith_pv_resume.argtypes = [c_void_p]
    hooks.xenolith_pv_read.argtypes = [c_void_p, c_uint64, c_void_p, c_uint64]
    return hooks


def new_trap_context(machine: EmulatedMachine, on_cpuid: Callable[[], None]) -> UnicornTrapContext:
    """What is this engine's own of the context; from ``on_cpuid`` nothing may be raised."""
    env, layout, library = machine.env, machine.layout, machine.library
    return UnicornTrapContext(
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
        on_cpuid=CpuidCallback(on_cpuid),
    )


def hook_traps(machine: EmulatedMachine, context: int) -> None:
    """Hook all by which a guest leaves its code; the context at that address is to outlive the machine."""
    hooks, library = load_traps(), machine.library

    def hook(kind: int, name: str, *instruction: int) -> None:
        address = ctypes.cast(getattr(hooks, name), c_void_p).value or 0
        library.add_hook(machine.handle, kind, address, *instruction, context=context)

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
        context=context,
        addresses=_KERNEL_ADDRESSES,
    )
