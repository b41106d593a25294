"""General registers and RIP as 64-bit words in the order in which instructions number them."""

from __future__ import annotations

_NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
GENERAL = {name: index for index, name in enumerate(_NAMES)}
_RIP = 16
MASK64 = (1 << 64) - 1


def _word(index: int) -> property:
    def read(self: RegisterFile) -> int:
        value: int = self.file[index]
        return value

    def write(self: RegisterFile, value: int) -> None:
        self.file[index] = value

    return property(read, write)


class RegisterFile:
    """Where an engine keeps them while the vCPU stands still; what is written is what it goes on with."""

    rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = (_word(i) for i in range(8))
    r8, r9, r10, r11, r12, r13, r14, r15 = (_word(i) for i in range(8, 16))
    rip = _word(_RIP)

    def __init__(self, file: memoryview) -> None:
        self.file = file
        """The sixteen general registers, RIP, and whatever an engine has behind them (format ``Q``)."""

    def general(self, number: int) -> int:
        """A general register by its number in instructions."""
        value: int = self.file[number]
        return value

    def set_general(self, number: int, value: int) -> None:
        """Write all 64 bits of a general register."""
        self.file[number] = value & MASK64
