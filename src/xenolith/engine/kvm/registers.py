"""A vCPU's registers in the page that KVM shares: read after every exit, written back where they are marked.

The layout is that of struct kvm_sync_regs (asm/kvm.h).
"""

from __future__ import annotations

from xenolith.engine.kvm.api import KVM_SYNC_X86_REGS
from xenolith.engine.kvm.structures.registers import GeneralRegisters
from xenolith.engine.kvm.structures.run_page import Run

_RIP, _RFLAGS = 16, 17
_RFLAGS_IF = 1 << 9


def _general(index: int) -> property:
    def read(self: KvmRegisters) -> int:
        value: int = self.file[index]
        return value

    def write(self: KvmRegisters, value: int) -> None:
        self.file[index] = value
        self.run.kvm_dirty_regs |= KVM_SYNC_X86_REGS

    return property(read, write)


class KvmRegisters:
    """The registers as they were at the vCPU's last exit; those that are written count when it goes on."""

    rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp = (_general(i) for i in range(8))
    r8, r9, r10, r11, r12, r13, r14, r15 = (_general(i) for i in range(8, 16))
    rip = _general(_RIP)

    def __init__(self, run: Run, page: memoryview) -> None:
        self.run = run
        self.special = run.s.sregs
        start = Run.s.offset
        size = GeneralRegisters.rflags.offset + GeneralRegisters.rflags.size
        self.file = page[start : start + size].cast("Q")
        """The general registers in the order of struct kvm_regs, RIP and RFLAGS."""

    @property
    def cr0(self) -> int:
        """Control register 0."""
        value: int = self.special.cr0
        return value

    @property
    def cr3(self) -> int:
        """Control register 3."""
        value: int = self.special.cr3
        return value

    @property
    def cr4(self) -> int:
        """Control register 4."""
        value: int = self.special.cr4
        return value

    @property
    def efer(self) -> int:
        """The extended feature enable register."""
        value: int = self.special.efer
        return value

    @property
    def rflags(self) -> int:
        """The flags register."""
        value: int = self.file[_RFLAGS]
        return value

    @property
    def cpl(self) -> int:
        """The current privilege level."""
        level: int = self.special.ss.dpl
        return level

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.file[_RFLAGS] & _RFLAGS_IF)

    @property
    def long_mode(self) -> bool:
        """Whether a 64-bit code segment is running."""
        return bool(self.special.cs.l)
