"""Where the emulator keeps the CPU's registers: found by writing sentinels, verified, never assumed.

A register through the library's API costs 2 to 4 microseconds, through memory 0.1. The offsets belong to the
library's private structures, so each is discovered in a scratch machine; one that cannot be found refuses the
library. Names are those of QEMU's target/i386/cpu.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from xenolith.abi.layout import U32, U64, Layout
from xenolith.engine.hvm import EngineError
from xenolith.engine.unicorn.library import (
    HOOK_INTR,
    PROT_ALL,
    SUPPORTED_VERSION,
    InterruptCallback,
    Library,
)

ENV_BYTES = 0x4000
"""How much of CPUX86State is searched; every field of interest lies in its first 6 KiB."""

_CPU_BYTES = 0x10000
_SEGMENT_BYTES = 24
_FS, _CR3 = 4, 3
_REG_CR3, _REG_MSR = 53, 248
_GENERAL_IDS = (35, 38, 40, 37, 44, 36, 43, 39, *range(106, 114))
"""The API's numbers of rax rcx rdx rbx rsp rbp rsi rdi r8-r15: the order of the CPU's own array."""

_MSR_EFER = 0xC0000080
_MSR_STAR = 0xC0000081
_MSR_LSTAR = 0xC0000082
_MSR_CSTAR = 0xC0000083
_MSR_FMASK = 0xC0000084
_MSR_FS_BASE = 0xC0000100

_PROBE_CODE = 0x1000
_INT3_HLT = b"\xcc\xf4"


class _Msr(NamedTuple):
    """uc_x86_msr of the C API."""

    register: U32
    value: U64


_MSR = Layout(_Msr)


def write_msr(library: Library, handle: ctypes.c_void_p, index: int, value: int) -> None:
    """Write a model-specific register through the API."""
    record = ctypes.create_string_buffer(_MSR.pack(_Msr(index, value)))
    library.check(library.reg_write(handle, _REG_MSR, record), "write an MSR")


@dataclass(frozen=True)
class CpuLayout:
    """Byte offsets into CPUX86State (``env``), ``env`` itself relative to the CPUState."""

    env: int
    interrupt_request: int
    """Relative to the CPUState."""
    no_exit_request: int
    """Relative to the machine handle (struct uc_struct)."""
    rip: int
    hflags: int
    segments: int
    control: int
    efer: int
    star: int
    lstar: int
    cstar: int
    fmask: int
    exception_is_int: int
    exception_index: int
    """Relative to the CPUState."""
    old_exception: int
    """Relative to the CPUState."""


class _Probe:
    """A scratch machine whose registers are written through the API and found in memory."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.handle = library.open()
        self._memory = ctypes.create_string_buffer(0x3000)
        aligned = (ctypes.addressof(self._memory) + 0xFFF) & ~0xFFF
        # The buffer outlives the machine, which close() ends.
        library.check(
            library.mem_map_ptr(self.handle, _PROBE_CODE, 0x1000, PROT_ALL, aligned), "map memory"
        )
        ctypes.memmove(aligned, _INT3_HLT, len(_INT3_HLT))
        self.cpu = library.get_cpu(self.handle, -1)
        if not self.cpu:
            raise _refused("it has no x86-64 CPU")

    def write(self, register: int, value: bytes) -> None:
        buffer = ctypes.create_string_buffer(value)
        self.library.check(
            self.library.reg_write(self.handle, register, buffer), "write a register"
        )

    def find(self, base: int, size: int, value: bytes, what: str) -> int:
        """The only offset at which ``value`` stands."""
        # The CPU object is larger than any size searched here.
        image = ctypes.string_at(base, size)
        offset = image.find(value)
        if offset < 0 or image.find(value, offset + 1) >= 0:
            raise _refused(f"{what} is not where it can be found")
        return offset

    def find_msr(self, env: int, msr: int, values: tuple[int, int], what: str) -> int:
        """The only offset in env that follows an MSR through two values."""
        offsets: set[int] | None = None
        for value in values:
            write_msr(self.library, self.handle, msr, value)
            image = ctypes.string_at(env, ENV_BYTES)
            holding = set(_find_all(image, value.to_bytes(8, "little")))
            offsets = holding if offsets is None else offsets & holding
        if offsets is None or len(offsets) != 1:
            raise _refused(f"{what} is not where it can be found")
        return offsets.pop()


def _sentinels(page: int) -> tuple[int, int]:
    """Two canonical addresses that nothing else holds."""
    return page << 12, (page << 12) + 0xABC


def _find_all(image: bytes, value: bytes) -> Iterator[int]:
    at = image.find(value)
    while at >= 0:
        yield at
        at = image.find(value, at + 1)


def _refused(why: str) -> EngineError:
    return EngineError(f"unicorn {SUPPORTED_VERSION}'s library does not check out: {why}")


def _find_general(probe: _Probe) -> int:
    """Offset of env in the CPUState: env starts with the sixteen general registers."""
    image = b""
    for number, register in enumerate(_GENERAL_IDS):
        value = (0x5EED_0000_0000_0000 + number * 0x0101_0101).to_bytes(8, "little")
        probe.write(register, value)
        image += value
    return probe.find(probe.cpu, _CPU_BYTES, image, "the general register file")


def _find_exception_is_int(probe: _Probe, env: int) -> int:
    """Run INT3 and look at its traces: exception_is_int (1) precedes exception_next_eip."""
    found: list[int] = []

    def on_interrupt(_machine: int, _number: int, _data: int) -> None:
        image = ctypes.string_at(env, ENV_BYTES)
        wanted = (1).to_bytes(4, "little") + (_PROBE_CODE + 1).to_bytes(8, "little")
        found.append(image.find(wanted))
        probe.library.emu_stop(probe.handle)

    callback = InterruptCallback(on_interrupt)
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    probe.library.add_hook(probe.handle, HOOK_INTR, address)
    probe.library.emu_start(probe.handle, _PROBE_CODE, 0, 0, 0)
    if not found or found[0] < 0:
        raise _refused("the state of an exception is not where it can be found")
    return found[0]


def _displacement(library: Library, function: str, opcode: bytes, size: int, tail: bytes) -> int:
    """The displacement in the only instruction ``opcode disp tail`` at the start of a function."""
    # Exported functions are longer than the 192 bytes read.
    code = ctypes.string_at(library.address(function), 192)
    at = code.find(opcode)
    end = at + len(opcode) + size
    if at < 0 or code[end : end + len(tail)] != tail:
        raise _refused(f"{function} does not look as expected")
    return int.from_bytes(code[at + len(opcode) : end], "little")


@cache
def find_layout(library: Library) -> CpuLayout:
    """Discover and verify the layout; EngineError names what does not check out."""
    probe = _Probe(library)
    try:
        env_offset = _find_general(probe)
        env = probe.cpu + env_offset
        probe.write(_REG_CR3, (0x5EED_1000).to_bytes(8, "little"))
        cr3 = probe.find(env, ENV_BYTES, (0x5EED_1000).to_bytes(8, "little"), "CR3")
        fs_base = probe.find_msr(env, _MSR_FS_BASE, _sentinels(0x5EED20000), "the segment file")
        star = probe.find_msr(env, _MSR_STAR, _sentinels(0x5EED300000000), "STAR")
        lstar = probe.find_msr(env, _MSR_LSTAR, _sentinels(0x5EED40000), "LSTAR")
        cstar = probe.find_msr(env, _MSR_CSTAR, _sentinels(0x5EED50000), "CSTAR")
        fmask = probe.find_msr(env, _MSR_FMASK, _sentinels(0x5EED6), "FMASK")
        # EFER filters what is written: SCE, LME, LMA and NXE are kept as they are.
        probe.write(_REG_CR3, bytes(8))
        efer = probe.find_msr(env, _MSR_EFER, (0x501, 0xD01), "EFER")
        layout = CpuLayout(
            env=env_offset,
            interrupt_request=_displacement(
                library, "x86_cpu_exec_interrupt_x86_64", b"\x81\x65", 1, b"\xff\xef\xff\xff"
            ),
            no_exit_request=_displacement(
                library, "check_exit_request_x86_64", b"\x80\xbe", 4, b"\x00"
            ),
            rip=16 * 8,
            hflags=16 * 8 + 48,
            segments=fs_base - 8 - _FS * _SEGMENT_BYTES,
            control=cr3 - _CR3 * 8,
            efer=efer,
            star=star,
            lstar=lstar,
            cstar=cstar,
            fmask=fmask,
            exception_is_int=_find_exception_is_int(probe, env),
            exception_index=_displacement(
                library, "x86_cpu_do_interrupt_x86_64", b"\x8b\xb7", 4, b"\x48\x89\xfb"
            ),
            old_exception=_displacement(
                library, "x86_cpu_do_interrupt_x86_64", b"\xc7\x83", 4, b"\xff\xff\xff\xff"
            ),
        )
    finally:
        library.close(probe.handle)
    if layout.segments != layout.hflags + 8:
        raise _refused("the segment file does not follow the flags")
    return layout
