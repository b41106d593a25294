"""IN, OUT, INS and OUTS of a PV guest, whose kernel or program may use the port.

As read_io, write_io, rep_ins and rep_outs of xen/arch/x86/pv/emul-priv-op.c. Each returns how many bytes of
operands follow the opcode, or None if the instruction is the guest's fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.pv.instruction import Instruction
from xenolith.hypervisor.pv.paging import may_be_mapped
from xenolith.hypervisor.pv.port_access import PageFault
from xenolith.machine.address import PAGE_SIZE, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_LOW32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1
_DF = 0x400
_PF_WRITE = 2
_RAX, _RCX, _RSI, _RDI = 0, 1, 6, 7
_ES, _DS, _FS, _GS = 0, 3, 4, 5
_IN_DX, _WIDE = 8, 1
"""Bits of the opcode: the port is in DX, not in an immediate byte; the operand is not a byte."""
_MOST_ELEMENTS = 256
"""Of a string instruction at a time: in between the vCPU can be interrupted, as after each on a processor."""


def read_port(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    """IN."""
    port, size = _port(vcpu, instruction), _size(instruction)
    if not vcpu.port_access.allows(port, size):
        return None
    _set(vcpu, _RAX, vcpu.domain.ports.read(port, size), size)
    return _operand_bytes(instruction)


def write_port(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    """OUT."""
    port, size = _port(vcpu, instruction), _size(instruction)
    if not vcpu.port_access.allows(port, size):
        return None
    vcpu.domain.ports.write(port, size, vcpu.registers.rax & (1 << 8 * size) - 1)
    return _operand_bytes(instruction)


def read_string(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    """INS, to ES:RDI."""
    port, size = vcpu.registers.rdx & 0xFFFF, _size(instruction)

    def move(offset: int) -> None:
        address = _linear(vcpu, instruction, _ES, offset, size)
        _check(vcpu, address, size, write=True)
        vcpu.paging.copy_to(address, vcpu.domain.ports.read(port, size).to_bytes(size, "little"))

    return _string(vcpu, instruction, _RDI, move)


def write_string(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    """OUTS, from RSI."""
    port, size = vcpu.registers.rdx & 0xFFFF, _size(instruction)
    segment = _DS if instruction.segment is None else instruction.segment

    def move(offset: int) -> None:
        address = _linear(vcpu, instruction, segment, offset, size)
        _check(vcpu, address, size, write=False)
        data = vcpu.paging.copy_from(address, size)
        vcpu.domain.ports.write(port, size, int.from_bytes(data, "little"))

    return _string(vcpu, instruction, _RSI, move)


def _string(
    vcpu: PvVcpu, instruction: Instruction, index: int, move: Callable[[int], None]
) -> int | None:
    """Move elements by the register ``index``; if some are left, the instruction is to be executed again."""
    registers, width = vcpu.registers, instruction.address_size
    size = _size(instruction)
    mask = (1 << 8 * width) - 1
    count = registers.rcx & mask if instruction.repeated else 1
    if not count:
        return 0
    if not vcpu.port_access.allows(registers.rdx & 0xFFFF, size):
        return None
    step = -size if registers.rflags & _DF else size
    offset, done = registers.general(index) & mask, 0
    try:
        while done < min(count, _MOST_ELEMENTS):
            move(offset)
            offset, done = offset + step & mask, done + 1
    except (PageFault, XenError):
        if not done:
            raise
    _set(vcpu, index, offset, width)
    if instruction.repeated:
        _set(vcpu, _RCX, count - done, width)
    return 0 if done == count else -instruction.length


def _port(vcpu: PvVcpu, instruction: Instruction) -> int:
    return vcpu.registers.rdx & 0xFFFF if instruction.opcode & _IN_DX else instruction.tail[0]


def _operand_bytes(instruction: Instruction) -> int:
    return 0 if instruction.opcode & _IN_DX else 1


def _size(instruction: Instruction) -> int:
    return min(instruction.operand_size, 4) if instruction.opcode & _WIDE else 1


def _set(vcpu: PvVcpu, number: int, value: int, size: int) -> None:
    """Write a general register as an operand of ``size`` bytes."""
    if size < 4:
        value |= vcpu.registers.general(number) & ~((1 << 8 * size) - 1)
    vcpu.registers.set_general(number, value)


def _linear(
    vcpu: PvVcpu, instruction: Instruction, segment: int, offset: int, size: int
) -> GuestVirt:
    """The address of an operand; XenError(EFAULT) where none can be."""
    registers = vcpu.registers
    if not registers.long_mode:
        return GuestVirt(registers.segment_base(segment) + offset & _LOW32)
    base = registers.segment_base(segment) if segment in (_FS, _GS) else 0
    address = GuestVirt(base + offset & _MASK64)
    if not may_be_mapped(address) or not may_be_mapped(address + size - 1):
        raise XenError(Errno.EFAULT, f"an operand at {address:#x}")
    return address


def _check(vcpu: PvVcpu, address: GuestVirt, size: int, *, write: bool) -> None:
    """Raise PageFault where an operand cannot be accessed, before any of it is."""
    last = address + size - 1
    for at in (address, max(address, last - last % PAGE_SIZE)):
        try:
            vcpu.paging.translate(GuestVirt(at), write=write)
        except XenError as error:
            raise PageFault(at, _PF_WRITE if write else 0) from error
