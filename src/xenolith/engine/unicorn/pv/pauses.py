"""Tells when a PV vCPU executes PAUSE, by the C code of _pauses.c: whoever pauses spins for another vCPU.

Xen does not watch PV guests so, but theirs have processors of their own: here a vCPU that spins keeps the one that
it waits for from running.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_uint64, c_void_p
from functools import cache

from xenolith.engine.hvm import EngineError
from xenolith.engine.unicorn.library import (
    HOOK_INTR,
    PROT_ALL,
    SUPPORTED_VERSION,
    InterruptCallback,
    Library,
)
from xenolith.engine.unicorn.machine import EmulatedMachine, load_library
from xenolith.machine.address import PAGE_SIZE
from xenolith.machine.native_code import Sizes, load_beside

_SLOT = 0xE0
"""Where struct uc_struct has its pointer stop_interrupt: verified before it is used."""

_EXCP_INTERRUPT = 0x10000
_PROBE_PAGE = 0x1000
_PAUSE_INT3 = b"\xf3\x90\xcc"

PauseCallback = CFUNCTYPE(None)
_AnyFunction = CFUNCTYPE(c_uint64, *[c_uint64] * 6)
"""Passes on whatever the function is that the slot turns out to have."""


class _Pauses(ctypes.Structure):
    """struct pauses."""

    _fields_ = (
        ("next", c_void_p),
        ("machine", c_void_p),
        ("ends_emulation", c_void_p),
        ("rip", c_void_p),
        ("read", c_void_p),
        ("read_context", c_void_p),
        ("on_pause", PauseCallback),
    )


def prepare_pauses() -> None:
    """Load and verify what this needs; forked processes, which may open no files, keep it. EngineError."""
    _load()
    _verify(load_library())


class PauseWatch:
    """Calls back after each PAUSE of one machine, until :meth:`end`."""

    def __init__(
        self, machine: EmulatedMachine, read: int, read_context: int, on_pause: Callable[[], None]
    ) -> None:
        """``read`` is the address of xenolith_pv_read(), ``read_context`` its first argument; EngineError."""
        prepare_pauses()
        slot = (machine.handle.value or 0) + _SLOT
        self._pauses = _Pauses(
            machine=machine.handle,
            # The slot of a machine of the library in which it was verified.
            ends_emulation=c_void_p.from_address(slot).value,
            rip=machine.env + machine.layout.rip,
            read=read,
            read_context=read_context,
            on_pause=PauseCallback(on_pause),
        )
        _load().xenolith_watch_pauses(ctypes.byref(self._pauses), c_void_p(slot))

    def end(self) -> None:
        """Forget a machine that has been closed."""
        _load().xenolith_forget_pauses(ctypes.byref(self._pauses))


@cache
def _verify(library: Library) -> None:
    """See in a scratch machine that the slot's function is told of a PAUSE."""
    handle = library.open()
    told: list[int] = []
    try:
        memory = ctypes.create_string_buffer(2 * PAGE_SIZE)
        host_page = (ctypes.addressof(memory) + PAGE_SIZE - 1) & -PAGE_SIZE
        # The buffer outlives the machine; the page lies within it.
        library.check(
            library.mem_map_ptr(handle, _PROBE_PAGE, PAGE_SIZE, PROT_ALL, host_page), "map memory"
        )
        ctypes.memmove(host_page, _PAUSE_INT3, len(_PAUSE_INT3))
        stop = InterruptCallback(lambda *_: library.emu_stop(handle))
        library.add_hook(handle, HOOK_INTR, ctypes.cast(stop, c_void_p).value or 0)
        slot = c_void_p.from_address((handle.value or 0) + _SLOT)
        if not slot.value:
            raise _refused()
        function = _AnyFunction(slot.value)

        def probe(*arguments: int) -> int:
            told.append(arguments[1] & 0xFFFF_FFFF)
            result: int = function(*arguments)
            return result

        callback = _AnyFunction(probe)
        slot.value = ctypes.cast(callback, c_void_p).value
        library.emu_start(handle, _PROBE_PAGE, 0, 0, 0)
    finally:
        library.close(handle)
    if _EXCP_INTERRUPT not in told:
        raise _refused()


def _refused() -> EngineError:
    return EngineError(
        f"unicorn {SUPPORTED_VERSION}'s library does not check out: PAUSE is not seen"
    )


@cache
def _load() -> ctypes.CDLL:
    return load_beside(
        __file__,
        "_pauses",
        "the engine's C code",
        EngineError,
        ctypes.CDLL,
        Sizes("xenolith_pauses_size", ctypes.sizeof(_Pauses)),
    )
