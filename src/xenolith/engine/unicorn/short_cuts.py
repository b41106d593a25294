"""Puts the short cuts of _short_cuts.c into a machine: the library's pointers to two functions are replaced.

Where these pointers and the TLB lie is private to the library, so both are looked for, and checked against a TLB
entry that a scratch machine made; what is not found refuses the library. Names are those of accel/tcg/cputlb.c.
"""

from __future__ import annotations

import ctypes
from ctypes import c_uint64, c_void_p
from functools import cache
from typing import NamedTuple

from xenolith.engine.hvm import EngineError
from xenolith.engine.unicorn.cpu_layout import find_layout
from xenolith.engine.unicorn.library import (
    HOOK_INTR,
    PROT_ALL,
    SUPPORTED_VERSION,
    InterruptCallback,
    Library,
)
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE
from xenolith.machine.native_code import load_beside

_MACHINE_BYTES = 0x800
"""How much of struct uc_struct is searched: its table of functions comes first."""

_CPU_BYTES = 0x10000
"""How much of the X86CPU is searched, which has its class inside."""

_TLBS_BEFORE_ENV = 64
"""CPUTLBDescFast of three MMU modes, and the 16 bytes of CPUNegativeOffsetState that follow."""

_MODES = 3
_ENTRY_SHIFT = 6

_PROBE_PAGE = 0x1000
_MOV_CHECK_INT3 = bytes.fromhex("88042500180000cc")
"""A store to 0x1800 and an exception."""

_NOT_DIRTY = 0x400


class _Functions(ctypes.Structure):
    """struct library of _short_cuts.c."""

    _fields_ = [
        ("find_region", c_void_p),
        ("fill_tlb", c_void_p),
        ("ram_address", c_void_p),
        ("forget_code", c_void_p),
        ("flush_tlb", c_void_p),
        ("flush_page", c_void_p),
    ]


class _Slots(NamedTuple):
    """Where the pointers are: relative to the machine and to its CPU."""

    find_region: int
    fill_tlb: int


def prepare_short_cuts(library: Library) -> None:
    """Find and verify what they need, so that forked processes, which may open no files, have it. EngineError."""
    _load()
    _find_slots(library)


def take_short_cuts(library: Library, handle: c_void_p, cpu: int) -> None:
    """Put the short cuts in; :func:`leave_short_cuts` follows when the machine is closed. EngineError."""
    slots = _find_slots(library)
    machine = handle.value or 0
    functions = _functions(library)
    # The slots were found in a machine of the same library, whose objects are alike; checked again here.
    for slot, function in (
        (machine + slots.find_region, functions.find_region),
        (cpu + slots.fill_tlb, functions.fill_tlb),
    ):
        if c_void_p.from_address(slot).value != function:
            raise _refused("two machines of it differ")
    failed = _load().xenolith_take_short_cuts(
        handle,
        c_void_p(cpu),
        c_void_p(_tlbs(library, cpu)),
        ctypes.byref(functions),
        c_void_p(machine + slots.find_region),
        c_void_p(cpu + slots.fill_tlb),
    )
    if failed:
        raise EngineError("there is no memory for the engine's short cuts")


def leave_short_cuts(handle: c_void_p) -> None:
    """Forget a machine that is closed now; harmless for one without short cuts."""
    _load().xenolith_leave_short_cuts(handle)


def _functions(library: Library) -> _Functions:
    return _Functions(
        library.address("find_memory_mapping_x86_64"),
        library.address("x86_cpu_tlb_fill_x86_64"),
        library.address("qemu_ram_addr_from_host_x86_64"),
        library.address("tb_invalidate_phys_range_x86_64"),
        library.address("tlb_flush_x86_64"),
        library.address("tlb_flush_page_x86_64"),
    )


def _tlbs(library: Library, cpu: int) -> int:
    return cpu + find_layout(library).env - _TLBS_BEFORE_ENV


@cache
def _find_slots(library: Library) -> _Slots:
    """Look for the pointers in a scratch machine, after a check of how its TLB is laid out."""
    handle = library.open()
    try:
        memory = ctypes.create_string_buffer(2 * PAGE_SIZE)
        host_page = (ctypes.addressof(memory) + PAGE_SIZE - 1) & -PAGE_SIZE
        # The buffer outlives the machine; the page lies within it.
        library.check(
            library.mem_map_ptr(handle, _PROBE_PAGE, PAGE_SIZE, PROT_ALL, host_page), "map memory"
        )
        ctypes.memmove(host_page, _MOV_CHECK_INT3, len(_MOV_CHECK_INT3))
        stop = InterruptCallback(lambda *_: library.emu_stop(handle))
        library.add_hook(handle, HOOK_INTR, ctypes.cast(stop, c_void_p).value or 0)
        library.emu_start(handle, _PROBE_PAGE, 0, 0, 0)
        cpu = library.get_cpu(handle, -1)
        _check_tlb(_tlbs(library, cpu), host_page)
        functions = _functions(library)
        machine_image = ctypes.string_at(handle, _MACHINE_BYTES)
        cpu_image = ctypes.string_at(cpu, _CPU_BYTES)
        return _Slots(
            _find(machine_image, functions.find_region or 0, 1),
            # The one that is used, and behind it the one to return to after a TLB of the embedder's.
            _find(cpu_image, functions.fill_tlb or 0, 2),
        )
    finally:
        library.close(handle)


def _check_tlb(tlbs: int, host_page: int) -> None:
    """See that one of the modes holds the page that was executed from and stored to."""
    expected = (_PROBE_PAGE, _PROBE_PAGE | _NOT_DIRTY, _PROBE_PAGE, _PROBE_PAGE)
    found = []
    for mode in range(_MODES):
        mask, entries = (c_uint64 * 2).from_address(tlbs + 16 * mode)
        if (mask + (1 << _ENTRY_SHIFT)).bit_count() != 1 or not entries:
            raise _refused("its TLB is not where it is expected")
        index = (_PROBE_PAGE >> PAGE_SHIFT << _ENTRY_SHIFT) & mask
        # The mask is that of a table, as was just seen, and the index lies below it.
        found.append(tuple((c_uint64 * 5).from_address(entries + index)))
    if (*expected, host_page - _PROBE_PAGE) not in found:
        raise _refused("an entry of its TLB does not look as expected")


def _find(image: bytes, address: int, times: int) -> int:
    """Where an object has a pointer so many times on end.

    What lies behind the object may hold the remains of another one, so the first place counts.
    """
    wanted = address.to_bytes(8, "little") * times
    for offset in range(0, len(image), 8):
        if image.startswith(wanted, offset):
            return offset
    raise _refused("its table of functions is not where it is expected")


def _refused(why: str) -> EngineError:
    return EngineError(f"unicorn {SUPPORTED_VERSION}'s library does not check out: {why}")


@cache
def _load() -> ctypes.CDLL:
    return load_beside(__file__, "_short_cuts", "the engine's C code", EngineError, ctypes.CDLL)
