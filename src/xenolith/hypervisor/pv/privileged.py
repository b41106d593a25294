"""The privileged instructions that Xen does for a PV guest's kernel, which runs in ring 3.

Which they are and what they see is xen/arch/x86/pv/emul-priv-op.c; everything else is the kernel's own #GP. The
encodings are those of the Intel SDM, volume 2; the few forms there are need no general decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.engine.hvm import GuestException
from xenolith.hypervisor.pv.instruction import Instruction, decode, fetch

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_LOW32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1

_XSETBV_MODRM = 0xD1
_TIMER_COUNTERS = range(0x40, 0x43)
"""A timer that stands still at 0: Linux gives up on it at once, but reads one that is not there 50,000 times."""


def emulate(vcpu: PvVcpu) -> bool:
    """Do the instruction at RIP, if it is one of those; False leaves everything as it was."""
    registers = vcpu.registers
    instruction = decode(fetch(vcpu, registers.rip))
    if instruction is None:
        return False
    action = _ACTIONS.get(instruction.opcode)
    if action is None:
        return False
    try:
        operands = action(vcpu, instruction)
    except (GuestException, XenError):
        return False
    if operands is None:
        return False
    registers.rip = registers.rip + instruction.length + operands & _MASK64
    return True


def _in(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    """IN: there is no device that could answer, so all lines are high."""
    if not vcpu.may_use_ports:
        return None
    registers = vcpu.registers
    if _port(vcpu, instruction) in _TIMER_COUNTERS:
        registers.rax &= ~0xFF
    elif not instruction.opcode & 1:
        registers.rax |= 0xFF
    elif instruction.operand_size == 2:
        registers.rax |= 0xFFFF
    else:
        registers.rax = _LOW32
    return _port_operands(instruction)


def _port(vcpu: PvVcpu, instruction: Instruction) -> int:
    return vcpu.registers.rdx & 0xFFFF if instruction.opcode & 8 else instruction.tail[0]


def _out(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    return _port_operands(instruction) if vcpu.may_use_ports else None


def _port_operands(instruction: Instruction) -> int:
    """The port is an immediate byte, or in DX where bit 3 of the opcode says so."""
    return 0 if instruction.opcode & 8 else 1


def _nothing(_vcpu: PvVcpu, _instruction: Instruction) -> int:
    """WBINVD, and CLTS where CR0.TS is clear already."""
    return 0


def _flag(vcpu: PvVcpu, _instruction: Instruction) -> int | None:
    """CLI and STI change nothing: the kernel's interrupt flag is in its vcpu_info."""
    return 0 if vcpu.may_use_ports else None


def _clts(vcpu: PvVcpu, _instruction: Instruction) -> int:
    vcpu.engine_vcpu.set_task_switched(False)
    return 0


def _read_control(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    value = vcpu.read_control(instruction.register)
    if value is None:
        return None
    vcpu.registers.set_general(instruction.other_register, value)
    return 1


def _write_control(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    value = vcpu.registers.general(instruction.other_register)
    return 1 if vcpu.write_control(instruction.register, value) else None


def _read_debug(vcpu: PvVcpu, instruction: Instruction) -> int:
    value = vcpu.debug.read(instruction.register)
    vcpu.registers.set_general(instruction.other_register, value)
    return 1


def _write_debug(vcpu: PvVcpu, instruction: Instruction) -> int:
    value = vcpu.registers.general(instruction.other_register)
    vcpu.debug.write(instruction.register, value)
    return 1


def _rdmsr(vcpu: PvVcpu, _instruction: Instruction) -> int:
    registers = vcpu.registers
    value = vcpu.read_msr(registers.rcx & _LOW32)
    registers.rax, registers.rdx = value & _LOW32, value >> 32
    return 0


def _wrmsr(vcpu: PvVcpu, _instruction: Instruction) -> int:
    registers = vcpu.registers
    value = registers.rax & _LOW32 | (registers.rdx & _LOW32) << 32
    vcpu.write_msr(registers.rcx & _LOW32, value)
    return 0


def _xsetbv(vcpu: PvVcpu, instruction: Instruction) -> int | None:
    registers = vcpu.registers
    value = registers.rax & _LOW32 | (registers.rdx & _LOW32) << 32
    known = instruction.tail[0] == _XSETBV_MODRM
    return 1 if known and vcpu.write_extended_control(registers.rcx & _LOW32, value) else None


_ACTIONS: dict[int, Callable[[PvVcpu, Instruction], int | None]] = {
    0xE4: _in,
    0xE5: _in,
    0xEC: _in,
    0xED: _in,
    0xE6: _out,
    0xE7: _out,
    0xEE: _out,
    0xEF: _out,
    0xFA: _flag,
    0xFB: _flag,
    0x0F01: _xsetbv,
    0x0F06: _clts,
    0x0F09: _nothing,
    0x0F20: _read_control,
    0x0F21: _read_debug,
    0x0F22: _write_control,
    0x0F23: _write_debug,
    0x0F30: _wrmsr,
    0x0F32: _rdmsr,
}
"""Each returns how many bytes of operands follow the opcode, or None if the instruction is the guest's fault."""
