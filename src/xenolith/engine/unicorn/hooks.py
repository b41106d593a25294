"""Binds the C hooks to one machine: the structure they read, and the call back for each #VMEXIT."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint32, c_uint64, c_void_p
from typing import Protocol

from xenolith.engine.unicorn.library import (
    HOOK_INSN,
    HOOK_INSN_INVALID,
    HOOK_INTR,
    HOOK_MEM_UNMAPPED,
    INS_IN,
    INS_OUT,
    INS_SYSCALL,
    ExitCallback,
    PortReadCallback,
    PortWriteCallback,
    UnmappedCallback,
    load_hooks,
)
from xenolith.engine.unicorn.machine import EmulatedMachine

RESUME = 0
RAISE = 1
DELIVER = 2

_KERNEL_ADDRESSES = (0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF)


class HookSink(Protocol):
    """What the hooks call in turn; nothing may be raised from any of it."""

    def on_exit(self, code: int) -> int:
        """A #VMEXIT; RESUME, or RAISE or DELIVER with the event in the context."""

    def on_port_read(self, port: int, size: int) -> int:
        """IN, rights checked."""

    def on_port_write(self, port: int, size: int, value: int) -> None:
        """OUT, rights checked."""

    def on_unmapped(self, address: int) -> None:
        """The delivery of an event wants to read where nothing is; it is made again afterwards."""


class HookContext(ctypes.Structure):
    """struct hook_context of hook_context.h."""

    _fields_ = [
        ("cpu", c_void_p),
        ("env", c_void_p),
        ("registers", c_void_p),
        ("rip", c_void_p),
        ("eflags", c_void_p),
        ("hflags", c_void_p),
        ("segments", c_void_p),
        ("efer", c_void_p),
        ("star", c_void_p),
        ("lstar", c_void_p),
        ("cstar", c_void_p),
        ("fmask", c_void_p),
        ("control", c_void_p),
        ("exception_index", c_void_p),
        ("exception_is_int", c_void_p),
        ("do_interrupt", c_void_p),
        ("read_eflags", c_void_p),
        ("write_eflags", c_void_p),
        ("raise_event", c_void_p),
        ("deliver_interrupt", c_void_p),
        ("load_code", c_void_p),
        ("update_cr4", c_void_p),
        ("check_port", c_void_p * 3),
        ("on_exit", ExitCallback),
        ("on_port_read", PortReadCallback),
        ("on_port_write", PortWriteCallback),
        ("on_unmapped", UnmappedCallback),
        ("valid_cr4", c_uint64),
        ("event_vector", c_int32),
        ("event_error_code", c_int32),
        ("event_is_software", c_int32),
        ("delivering", c_uint32),
        ("interrupting", c_uint32),
        ("undeliverable", c_uint32),
        ("unmapped", c_uint32),
        ("unmapped_address", c_uint64),
        ("start", c_uint64),
        ("reading", c_uint32),
    ]


def install_hooks(machine: EmulatedMachine, sink: HookSink) -> HookContext:
    """Hook exceptions, #VMEXITs, #UD, SYSCALL and port I/O; the caller keeps the result alive."""
    library, layout, env = machine.library, machine.layout, machine.env
    context = HookContext(
        cpu=machine.cpu,
        env=env,
        registers=env,
        rip=env + layout.rip,
        eflags=env + layout.rip + 8,
        hflags=env + layout.hflags,
        segments=env + layout.segments,
        efer=env + layout.efer,
        star=env + layout.star,
        lstar=env + layout.lstar,
        cstar=env + layout.cstar,
        fmask=env + layout.fmask,
        control=env + layout.control,
        exception_index=machine.cpu + layout.exception_index,
        exception_is_int=env + layout.exception_is_int,
        do_interrupt=library.address("x86_cpu_do_interrupt_x86_64"),
        read_eflags=library.address("helper_read_eflags_x86_64"),
        write_eflags=library.address("helper_write_eflags_x86_64"),
        raise_event=library.address("raise_interrupt_x86_64"),
        deliver_interrupt=library.address("do_interrupt_x86_hardirq_x86_64"),
        load_code=library.address("cpu_ldub_code_x86_64"),
        update_cr4=library.address("cpu_x86_update_cr4_x86_64"),
        check_port=(c_void_p * 3)(
            *(library.address(f"helper_check_io{size}_x86_64") for size in "bwl")
        ),
        on_exit=ExitCallback(sink.on_exit),
        on_port_read=PortReadCallback(sink.on_port_read),
        on_port_write=PortWriteCallback(sink.on_port_write),
        on_unmapped=UnmappedCallback(sink.on_unmapped),
    )
    hooks = load_hooks()

    def hook(kind: int, name: str, *instruction: int) -> None:
        address = ctypes.cast(getattr(hooks, name), c_void_p).value or 0
        library.add_hook(
            machine.handle, kind, address, *instruction, context=ctypes.addressof(context)
        )

    hook(HOOK_INTR, "xenolith_on_interrupt")
    hook(HOOK_INSN_INVALID, "xenolith_on_invalid_instruction")
    hook(HOOK_INSN, "xenolith_on_syscall", INS_SYSCALL)
    hook(HOOK_INSN, "xenolith_on_port_read", INS_IN)
    hook(HOOK_INSN, "xenolith_on_port_write", INS_OUT)
    watch_unmapped(machine, context, _KERNEL_ADDRESSES)
    return context


def watch_unmapped(
    machine: EmulatedMachine, context: HookContext, addresses: tuple[int, int]
) -> None:
    """Note accesses to a range of guest-physical addresses, first and last, where nothing is mapped.

    Stores to memory in a range that is watched are slow: watch only where there is no RAM.
    """
    address = ctypes.cast(load_hooks().xenolith_on_unmapped, c_void_p).value or 0
    machine.library.add_hook(
        machine.handle,
        HOOK_MEM_UNMAPPED,
        address,
        context=ctypes.addressof(context),
        addresses=addresses,
    )
