"""The page of hypercall stubs that a guest asks for through an MSR (Xen's hvm_init_hypercall_page)."""

from __future__ import annotations

from xenolith.abi.xen import Hypercall
from xenolith.machine.address import PAGE_SIZE

_STUB_BYTES = 32
_MOV_EAX = b"\xb8"
_RET = b"\xc3"
_UD2 = b"\x0f\x0b"


def hypercall_page(instruction: bytes) -> bytes:
    """A page with ``mov eax, n``, the engine's hypercall instruction and ``ret`` at 32 * n.

    iret, which is PV's, is undefined.
    """
    page = bytearray()
    for number in range(PAGE_SIZE // _STUB_BYTES):
        stub = _MOV_EAX + number.to_bytes(4, "little") + instruction + _RET
        page += (_UD2 if number == Hypercall.iret else stub).ljust(_STUB_BYTES, b"\xcc")
    return bytes(page)
