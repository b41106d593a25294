"""From a hypercall instruction to the handler of its number and back, as Xen's arch/x86/*/hypercall.c do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.guest_access import Continuation

if TYPE_CHECKING:
    from xenolith.hypervisor.vcpu import Vcpu

_MASK = (1 << 64) - 1


def dispatch(vcpu: Vcpu) -> None:
    """Perform the hypercall that the registers ask for and leave its result in RAX."""
    registers = vcpu.registers
    number = registers.rax & 0xFFFFFFFF
    arguments = (registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8)
    try:
        result = call(vcpu, number, arguments)
    except Continuation as rest:
        _call_again(vcpu, number if rest.number is None else rest.number, rest.arguments)
    else:
        registers.rax = result & _MASK
    vcpu.domain.scheduler.attend()


def call(vcpu: Vcpu, number: int, arguments: tuple[int, ...]) -> int:
    """Perform one hypercall; the result, or the negated errno. Continuation passes through."""
    tracer = vcpu.domain.tracer
    handler = vcpu.handlers.get(number, _unserved)
    try:
        if tracer is None:
            result: int = handler(vcpu, *arguments)
            return result
        return tracer.hypercall(vcpu, number, arguments, handler)
    except XenError as error:
        return -error.errno


def _unserved(_vcpu: Any, _a1: int, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    """The handler of the numbers that have none."""
    raise XenError(Errno.ENOSYS, "not served")


def _call_again(vcpu: Vcpu, number: int, arguments: tuple[int, ...]) -> None:
    """Have the guest make the same hypercall again, with the arguments of what is left to do."""
    registers = vcpu.registers
    registers.rax = number
    for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8"), arguments, strict=False):
        setattr(registers, name, value & _MASK)
    vcpu.engine_vcpu.repeat_hypercall()
    vcpu.domain.scheduler.yield_now()
