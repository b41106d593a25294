"""All that there is of ring 0 in a PV guest on KVM: descriptors, and stubs of one instruction each.

A stub makes KVM exit by OUT, to the port of its vector's number; it never goes on. Programs that jump behind
the OUT of one that ring 3 sees get #UD. The formats are those of
the AMD64 Architecture Programmer's Manual, volume 2.
"""

from __future__ import annotations

from xenolith.engine.pv_traps.numbers import FLAT_DESCRIPTORS

CODE_SELECTOR, STACK_SELECTOR, TASK_SELECTOR = 0xE008, 0xE010, 0xE040
USER_SELECTORS = 0xE023
"""What SYSRET would load; nobody executes it."""
_TASK_STATE, _PORT_BYTES = 0x68, 32
TASK_STATE_BYTES = _TASK_STATE + _PORT_BYTES + 1
SYSCALL_ENTRY, SYSCALL32_ENTRY = 0, 16
"""Offsets of the code that SYSCALL enters from 64-bit code and from 32-bit code."""
SYSCALL_FLAGS = 0x47700
"""Flags that SYSCALL clears, as on Xen: AC, NT, IOPL, DF, IF, TF. The stub sees none of them."""

DESCRIPTORS = FLAT_DESCRIPTORS | {
    1: 0x00AF9B000000FFFF,  # ring 0, 64-bit code
    2: 0x00CF93000000FFFF,  # ring 0, data
}
"""Xen's own descriptors and the engine's, by their index in the page behind the guest's."""

_VECTORS = 256
_STUB_BYTES = 4
_OUT_TO, _UD2 = b"\xe6", b"\x0f\x0b"
_INTERRUPT_GATE, _FOR_PROGRAMS = 0x8E00, 0x6000
_DEBUG, _BREAKPOINT, _OVERFLOW = 1, 3, 4
_TRAP_STACK, _DEBUG_STACK = 1, 2
"""Entries of the interrupt stack table: SYSCALL leaves ring 0 on the guest's stack, where no trap may put
a frame."""
CALL_PORTS = _SYSCALL_PORT, _SYSCALL32_PORT = 0xFC, 0xFD
"""What the code that SYSCALL enters writes to."""


def trap_stubs() -> bytes:
    """The code that vectors enter, _STUB_BYTES each."""
    return b"".join(_stub(vector) for vector in range(_VECTORS))


def call_stubs() -> bytes:
    """The code that SYSCALL enters."""
    return _stub(_SYSCALL_PORT).ljust(SYSCALL32_ENTRY, b"\xcc") + _stub(_SYSCALL32_PORT)


def _stub(port: int) -> bytes:
    return _OUT_TO + bytes([port]) + _UD2


def interrupt_table(stubs: int) -> bytes:
    """Gates to the stubs at an address. INT n is for breakpoints and INTO only: the rest is #GP, and decoded."""
    table = bytearray()
    for vector in range(_VECTORS):
        target = stubs + vector * _STUB_BYTES
        attributes = _INTERRUPT_GATE | (_DEBUG_STACK if vector == _DEBUG else _TRAP_STACK)
        if vector in (_BREAKPOINT, _OVERFLOW):
            attributes |= _FOR_PROGRAMS
        low = (
            target & 0xFFFF | CODE_SELECTOR << 16 | attributes << 32 | (target >> 16 & 0xFFFF) << 48
        )
        table += low.to_bytes(8, "little") + (target >> 32).to_bytes(8, "little")
    return bytes(table)


def task_state(stack: int, debug_stack: int) -> bytes:
    """A task state segment whose stacks for ring 0 end at these addresses, the second that of #DB.

    Of the ports ring 3 may only use those of the stubs for SYSCALL: there are KVMs that have it execute them.
    """
    segment = bytearray(_TASK_STATE)
    for offset, end in ((4, stack), (0x24, stack), (0x2C, debug_stack)):
        segment[offset : offset + 8] = end.to_bytes(8, "little")
    segment[0x66:0x68] = _TASK_STATE.to_bytes(2, "little")
    forbidden = (1 << 8 * (_PORT_BYTES + 1)) - 1 & ~(1 << _SYSCALL_PORT | 1 << _SYSCALL32_PORT)
    return bytes(segment) + forbidden.to_bytes(_PORT_BYTES + 1, "little")
