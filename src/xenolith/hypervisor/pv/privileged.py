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
from xenolith.hypervisor.pv.port_access import PageFault
from xenolith.hypervisor.pv.port_instructions import (
    read_port,
    read_string,
    write_port,
    write_string,
)
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

    Action = Callable[[PvVcpu, Instruction], int | None]
    """Returns how many bytes of operands follow the opcode, or None if the instruction is the guest's fault."""

_LOW32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1

_XSETBV_MODRM = 0xD1
_CS = 1


def emulate(vcpu: PvVcpu) -> bool:
    """Do the instruction at RIP, if it is one of those; False leaves everything as it was."""
    registers = vcpu.registers
    if registers.long_mode:
        mask = _MASK64
        instruction = decode(fetch(vcpu, registers.rip))
    else:
        mask = _LOW32
        address = registers.segment_base(_CS) + registers.rip & mask
        instruction = decode(fetch(vcpu, address), word=4)
    if instruction is None:
        return False
    actions = _ACTIONS if vcpu.engine_vcpu.in_kernel else _ACTIONS_OF_PROGRAMS
    action = actions.get(instruction.opcode)
    if action is None:
        return False
    try:
        operands = action(vcpu, instruction)
    except PageFault as fault:
        vcpu.page_fault(GuestVirt(fault.address), fault.error_code)
        return True
    except (GuestException, XenError):
        return False
    if operands is None:
        return False
    registers.rip = registers.rip + instruction.length + operands & mask
    return True


def _nothing(_vcpu: PvVcpu, _instruction: Instruction) -> int:
    """WBINVD, and CLTS where CR0.TS is clear already."""
    return 0


def _flag(vcpu: PvVcpu, _instruction: Instruction) -> int | None:
    """CLI and STI change nothing: the kernel's interrupt flag is in its vcpu_info."""
    return 0 if vcpu.port_access.is_privileged else None


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


_ACTIONS_OF_PROGRAMS: dict[int, Action] = {
    0x6C: read_string,
    0x6D: read_string,
    0x6E: write_string,
    0x6F: write_string,
    0xE4: read_port,
    0xE5: read_port,
    0xEC: read_port,
    0xED: read_port,
    0xE6: write_port,
    0xE7: write_port,
    0xEE: write_port,
    0xEF: write_port,
    0xFA: _flag,
    0xFB: _flag,
}
"""What a kernel may let its programs do."""

_ACTIONS: dict[int, Action] = _ACTIONS_OF_PROGRAMS | {
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
