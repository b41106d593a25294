"""The registers of a PV vCPU on KVM, where the C code keeps them while the vCPU stands still."""

from __future__ import annotations

import ctypes

from xenolith.engine.kvm.pv.traps import KvmVcpuState
from xenolith.engine.kvm.structures import SpecialRegisters

_NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
GENERAL = {name: index for index, name in enumerate(_NAMES)}
_RIP = 16
_MASK64 = (1 << 64) - 1


def _general(index: int) -> property:
    def read(self: KvmPvRegisters) -> int:
        value: int = self.file[index]
        return value

    def write(self: KvmPvRegisters, value: int) -> None:
        self.file[index] = value

    return property(read, write)


class KvmPvRegisters:
    """Implements PvRegisters for one vCPU; general ones can be written."""

    rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = (_general(i) for i in range(8))
    r8, r9, r10, r11, r12, r13, r14, r15 = (_general(i) for i in range(8, 16))
    rip = _general(_RIP)

    def __init__(self, state: KvmVcpuState, special: SpecialRegisters) -> None:
        self._state = state
        self._special = special
        self._segments = special.es, special.cs, special.ss, special.ds, special.fs, special.gs
        start = KvmVcpuState.registers.offset
        self.file = (
            memoryview(state).cast("B")[start : start + ctypes.sizeof(state.registers)].cast("Q")
        )
        """The sixteen general registers and RIP."""

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

    def general(self, number: int) -> int:
        """A general register by its number in instructions."""
        value: int = self.file[number]
        return value

    def set_general(self, number: int, value: int) -> None:
        """Write all 64 bits of a general register."""
        self.file[number] = value & _MASK64
