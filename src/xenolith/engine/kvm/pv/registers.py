"""The registers of a PV vCPU on KVM, where the C code keeps them while the vCPU stands still."""

from __future__ import annotations

import ctypes

from xenolith.engine.kvm.pv.traps import KvmVcpuState
from xenolith.engine.kvm.structures.registers import SpecialRegisters
from xenolith.engine.register_file import RegisterFile


class KvmPvRegisters(RegisterFile):
    """Implements PvRegisters for one vCPU; general ones can be written."""

    def __init__(self, state: KvmVcpuState, special: SpecialRegisters) -> None:
        self._state = state
        self._special = special
        self._segments = special.es, special.cs, special.ss, special.ds, special.fs, special.gs
        start = KvmVcpuState.registers.offset
        end = start + ctypes.sizeof(state.registers)
        super().__init__(memoryview(state).cast("B")[start:end].cast("Q"))

    @property
    def cr0(self) -> int:
        """Control register 0."""
        value: int = self._special.cr0
        return value

    @property
    def cr3(self) -> int:
        """The machine address of the page table in use."""
        value: int = self._state.roots[self._state.in_kernel]
        return value

    @property
    def rflags(self) -> int:
        """The flags register."""
        value: int = self._state.rflags
        return value

    @property
    def long_mode(self) -> bool:
        """Whether a 64-bit code segment is running."""
        return bool(self._special.cs.l)

    def segment_base(self, number: int) -> int:
        """The base of a segment register by its number in instructions."""
        base: int = self._segments[number].base
        return base

    def set_segment_base(self, number: int, base: int) -> None:
        """Write the hidden part of a segment register."""
        self._segments[number].base = base
