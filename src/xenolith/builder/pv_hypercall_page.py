"""The page of hypercall stubs that older PV kernels ask for by an ELF note.

Stub n is at n * 32; its code is that of xen/arch/x86/pv/hypercall.c.
"""

from __future__ import annotations

from xenolith.abi.xen import Hypercall
from xenolith.machine.address import PAGE_SIZE

_STUB_BYTES = 32
_PUSH_RCX, _PUSH_RAX, _POP_RCX = b"\x51", b"\x50", b"\x59"
_PUSH_R11, _POP_R11 = b"\x41\x53", b"\x41\x5b"
_MOV_EAX, _SYSCALL, _RET = b"\xb8", b"\x0f\x05", b"\xc3"
_INT3 = b"\xcc"


def hypercall_page() -> bytes:
    """A page of stubs by hypercall number."""
    stubs = [_stub(number) for number in range(PAGE_SIZE // _STUB_BYTES)]
    return b"".join(stub.ljust(_STUB_BYTES, _INT3) for stub in stubs)


def _stub(number: int) -> bytes:
    load = _MOV_EAX + number.to_bytes(4, "little") + _SYSCALL
    if number == Hypercall.iret:
        return _PUSH_RCX + _PUSH_R11 + _PUSH_RAX + load
    return _PUSH_RCX + _PUSH_R11 + load + _POP_R11 + _POP_RCX + _RET
