"""The hypercalls of a 32-bit guest: EBX, ECX, EDX, ESI and EDI, structs of the i386 ABI, and a result of 32 bits.

The counterpart of Xen's compatibility layer (xen/common/compat). The handlers are those of all guests: while one
runs, the caller's memory has words of 4 bytes, from which follow the layouts of structs and arrays
(hypervisor.guest_access).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xenolith.hypervisor.guest_access import LONG_WORD, Continuation
from xenolith.hypervisor.hypercalls.dispatch import call

if TYPE_CHECKING:
    from xenolith.hypervisor.hvm.vcpu import HvmVcpu

COMPAT_WORD = 4
_LOW32 = 0xFFFFFFFF


def dispatch_compat(vcpu: HvmVcpu) -> None:
    """Perform the hypercall that the registers ask for and leave its result in EAX."""
    registers = vcpu.registers
    number = registers.rax & _LOW32
    arguments = tuple(
        value & _LOW32
        for value in (registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi)
    )
    vcpu.paging.word = COMPAT_WORD
    try:
        result = call(vcpu, number, arguments)
    except Continuation as rest:
        registers.rax = number
        for name, value in zip(("rbx", "rcx", "rdx", "rsi", "rdi"), rest.arguments, strict=False):
            setattr(registers, name, value & _LOW32)
        vcpu.engine_vcpu.repeat_hypercall()
        vcpu.domain.scheduler.yield_now()
    else:
        registers.rax = result & _LOW32
    finally:
        vcpu.paging.word = LONG_WORD
    vcpu.domain.scheduler.attend()
