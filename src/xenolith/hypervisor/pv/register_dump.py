"""What Xen prints of a vCPU that it crashes: its registers, and the top of its stack (xen/arch/x86/traps.c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.machine.address import GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_ROWS = (
    (("rax", 0), ("rbx", 3), ("rcx", 1)),
    (("rdx", 2), ("rsi", 6), ("rdi", 7)),
    (("rbp", 5), ("rsp", 4), ("r8", 8)),
    (("r9", 9), ("r10", 10), ("r11", 11)),
    (("r12", 12), ("r13", 13), ("r14", 14)),
)
_R15 = 15
_STACK_ROWS, _WORDS_PER_ROW = 4, 4


def register_dump(vcpu: PvVcpu) -> Iterator[str]:
    """Lines about a vCPU that stands still."""
    registers = vcpu.registers
    yield f"RIP:    [<{registers.rip:016x}>]"
    yield f"RFLAGS: {registers.rflags:016x}   CONTEXT: pv guest (d{vcpu.domain.domid}v{vcpu.id})"
    for row in _ROWS:
        yield "   ".join(f"{name + ':':4} {registers.general(number):016x}" for name, number in row)
    yield f"r15: {registers.general(_R15):016x}   cr0: {registers.cr0:016x}   cr3: {registers.cr3:016x}"
    yield f"Guest stack trace from rsp={registers.rsp:016x}:"
    for row_number in range(_STACK_ROWS):
        address = registers.rsp + row_number * _WORDS_PER_ROW * 8
        try:
            data = vcpu.paging.copy_from(GuestVirt(address), _WORDS_PER_ROW * 8)
        except XenError:
            yield f"  Fault while accessing guest memory at {address:016x}."
            return
        yield "  " + " ".join(f"{word:016x}" for word in memoryview(data).cast("Q"))
