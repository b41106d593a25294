"""A direct view of the emulated CPU's registers, at the offsets that cpu_layout.py verified."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from xenolith.engine.register_file import MASK64, RegisterFile
from xenolith.engine.unicorn.cpu_layout import ENV_BYTES, CpuLayout

_SEGMENT_BYTES, _SEGMENT_BASE, _SEGMENT_LIMIT = 24, 8, 16
_TABLES = 10
"""Six segment registers, LDTR, TR, GDTR and IDTR: struct SegmentCache is selector, base, limit, flags."""

_HFLAGS_CPL = 3
_HFLAGS_INHIBIT_IRQ = 1 << 3
_HFLAGS_CS64 = 1 << 15
_RFLAGS_IF = 1 << 9


class UnicornRegisters(RegisterFile):
    """The registers of the vCPU that is loaded; general ones can be written."""

    def __init__(self, env: int, layout: CpuLayout, read_eflags: Callable[[int], int]) -> None:
        # env is CPUX86State of a machine that lives as long as the engine that owns this view.
        state = memoryview((ctypes.c_ubyte * ENV_BYTES).from_address(env)).cast("B")
        self._env = env
        self._read_eflags = read_eflags
        # Behind RIP is the stored part of RFLAGS.
        super().__init__(state[: layout.hflags - layout.hflags % 8].cast("Q"))
        self._hflags = state[layout.hflags : layout.hflags + 4].cast("I")
        self._control = state[layout.control : layout.control + 9 * 8].cast("Q")
        self._efer = state[layout.efer : layout.efer + 8].cast("Q")
        self._segments = state[layout.segments : layout.segments + _TABLES * _SEGMENT_BYTES]
        self._error_code = state[layout.exception_is_int - 4 : layout.exception_is_int].cast("I")

    @property
    def cr0(self) -> int:
        """Control register 0."""
        return self._control[0]

    @property
    def cr3(self) -> int:
        """Control register 3."""
        return self._control[3]

    @cr3.setter
    def cr3(self, value: int) -> None:
        self._control[3] = value

    @property
    def cr4(self) -> int:
        """Control register 4."""
        return self._control[4]

    @property
    def efer(self) -> int:
        """The extended feature enable register."""
        return self._efer[0]

    @efer.setter
    def efer(self, value: int) -> None:
        self._efer[0] = value

    @property
    def rflags(self) -> int:
        """The flags register, arithmetic flags computed."""
        return self._read_eflags(self._env)

    @property
    def cpl(self) -> int:
        """The current privilege level."""
        return self._hflags[0] & _HFLAGS_CPL

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        # IF is not among the flags that the emulator computes lazily.
        return bool(self.file[17] & _RFLAGS_IF)

    @property
    def long_mode(self) -> bool:
        """Whether a 64-bit code segment is running."""
        return bool(self._hflags[0] & _HFLAGS_CS64)

    def segment_base(self, number: int) -> int:
        """The base of a segment register, by its place in CPUX86State; up to GS its number in instructions."""
        start = number * _SEGMENT_BYTES + _SEGMENT_BASE
        return int.from_bytes(self._segments[start : start + 8], "little")

    def set_segment_base(self, number: int, base: int) -> None:
        """Write the hidden part of a segment register."""
        start = number * _SEGMENT_BYTES + _SEGMENT_BASE
        self._segments[start : start + 8] = base.to_bytes(8, "little")

    def write_segment(self, number: int, base: int, limit: int) -> None:
        """Write base and limit of a segment or table register."""
        self.set_segment_base(number, base)
        start = number * _SEGMENT_BYTES + _SEGMENT_LIMIT
        self._segments[start : start + 4] = limit.to_bytes(4, "little")

    def selector(self, number: int) -> int:
        """The selector of a segment register."""
        start = number * _SEGMENT_BYTES
        return int.from_bytes(self._segments[start : start + 4], "little")

    @property
    def exit_info(self) -> int:
        """EXITINFO1 of a #VMEXIT that is handled in place: it would only later go to the VMCB."""
        return self._error_code[0]

    def skip(self, length: int) -> None:
        """Step over an instruction of ``length`` bytes; it ends an STI or MOV SS shadow."""
        self.file[16] = self.file[16] + length & MASK64
        self._hflags[0] &= ~_HFLAGS_INHIBIT_IRQ
