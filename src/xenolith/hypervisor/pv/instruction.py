"""Takes an instruction of the guest's apart, as far as those need it that the hypervisor does in its place.

The encodings are those of the Intel SDM, volume 2. Where an instruction accesses memory the
processor has said at which address, so that need not be computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xenolith.abi.errno import XenError
from xenolith.machine.address import PAGE_SIZE, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_LONGEST = 15
_OPERAND_SIZE, _ADDRESS_SIZE, _REX = 0x66, 0x67, range(0x40, 0x50)
_SEGMENTS = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, 0x64: 4, 0x65: 5}
_REPEAT = frozenset({0xF2, 0xF3})
_PREFIXES = frozenset({_OPERAND_SIZE, _ADDRESS_SIZE, 0xF0, *_SEGMENTS, *_REPEAT})
_REX_W, _REX_R, _REX_B = 8, 4, 1
_REGISTER_MOD = 3
_SIB_FOLLOWS, _DISPLACEMENT_ONLY = 4, 5


class Instruction(NamedTuple):
    """Prefixes and opcode; two-byte opcodes are 0x0Fxx."""

    opcode: int
    tail: bytes
    """What follows the opcode, and more."""
    length: int
    """Up to and including the opcode."""
    rex: int
    operand_size: int
    """Of operands that are not bytes: 2, 4 or 8."""
    address_size: int
    """2, 4 or 8."""
    prefixes: bytes
    """But REX."""

    @property
    def repeated(self) -> bool:
        """Whether it has a REP prefix."""
        return not _REPEAT.isdisjoint(self.prefixes)

    @property
    def segment(self) -> int | None:
        """The segment register, in the order of instructions, that a prefix names."""
        named = [_SEGMENTS[prefix] for prefix in self.prefixes if prefix in _SEGMENTS]
        return named[-1] if named else None

    @property
    def register(self) -> int:
        """The register that ModRM.reg names."""
        return self.tail[0] >> 3 & 7 | (self.rex & _REX_R and 8)

    @property
    def extension(self) -> int:
        """ModRM.reg where it is part of the opcode."""
        return self.tail[0] >> 3 & 7

    @property
    def other_register(self) -> int:
        """The register that ModRM.rm names, if it names one."""
        return self.tail[0] & 7 | (self.rex & _REX_B and 8)

    @property
    def operand_length(self) -> int:
        """Bytes of ModRM, SIB and displacement."""
        mod, rm = self.tail[0] >> 6, self.tail[0] & 7
        if mod == _REGISTER_MOD:
            return 1
        length = 1 + (0, 1, 4)[mod]
        if rm == _SIB_FOLLOWS:
            length += 1
            if mod == 0 and self.tail[1] & 7 == _DISPLACEMENT_ONLY:
                length += 4
        elif mod == 0 and rm == _DISPLACEMENT_ONLY:
            length += 4
        return length

    def immediate(self, size: int) -> int:
        """The signed number behind the operands."""
        start = self.operand_length
        return int.from_bytes(self.tail[start : start + size], "little", signed=True)


def fetch(vcpu: PvVcpu, address: int) -> bytes:
    """The bytes of the instruction at an address, as far as they can be read."""
    room = PAGE_SIZE - address % PAGE_SIZE
    for size in (_LONGEST, room):
        if size <= _LONGEST:
            try:
                return vcpu.paging.copy_from(GuestVirt(address), size)
            except XenError:
                continue
    return b""


def decode(code: bytes, word: int = 8) -> Instruction | None:
    """Split off prefixes and opcode, of code whose addresses are of 8 bytes or 4; None where it ends too early."""
    at, rex, size, address_size = 0, 0, 4, word
    while at < len(code) and code[at] in _PREFIXES:
        if code[at] == _OPERAND_SIZE:
            size = 2
        elif code[at] == _ADDRESS_SIZE:
            address_size = word // 2
        at += 1
    prefixes = code[:at]
    if word == 8 and at < len(code) and code[at] in _REX:
        rex = code[at]
        size = 8 if rex & _REX_W else size
        at += 1
    if at >= len(code):
        return None
    opcode = code[at]
    at += 1
    if opcode == 0x0F:
        if at >= len(code):
            return None
        opcode = 0x0F00 | code[at]
        at += 1
    tail = code[at:].ljust(_LONGEST, b"\0")
    return Instruction(opcode, tail, at, rex, size, address_size, prefixes)
