"""Finishes a long REP STOS that a run of the guest was interrupted in, as any hypervisor's emulator would.

A kernel clears its bss before it has told executable pages from others. To such pages the emulator takes a slow
path for every single byte: 0.3 s of a boot of Debian's kernel, where this takes 2 ms.
"""

from __future__ import annotations

import ctypes

from xenolith.engine.unicorn.address_space import AddressSpace
from xenolith.engine.unicorn.registers import UnicornRegisters
from xenolith.machine.address import PAGE_SIZE

_STOSB, _STOSD, _STOSQ = b"\xf3\xaa", b"\xf3\xab", b"\xf3\x48\xab"
_WORTH_WHILE = 2 * PAGE_SIZE
_MOST_PAGES = 4096
"""At once, some 20 ms of work: a guest may ask for all of its address space, with one page behind all of it."""

_RFLAGS_DF = 1 << 10
_PRESENT_WRITABLE_ACCESSED = 0x23
_DIRTY, _LARGE = 0x40, 0x80
_ADDRESS = 0x000F_FFFF_FFFF_F000
_LEVEL_SHIFTS = (39, 30, 21, 12)
_CANONICAL = (0, 0x1FFFF)
_MASK64 = (1 << 64) - 1


def finish_string_store(registers: UnicornRegisters, space: AddressSpace) -> None:
    """Store what is left in whole pages, if a kernel in long mode is storing zeros; else do nothing.

    Only pages whose entries need no change by the store are written, so the guest sees what it would have seen.
    """
    if registers.cpl or not registers.long_mode or registers.rflags & _RFLAGS_DF:
        return
    width = _element_width(_code_at(registers, space))
    if not width or registers.rcx * width < _WORTH_WHILE:
        return
    if registers.rax & (1 << 8 * width) - 1:
        return
    for _ in range(_MOST_PAGES):
        if registers.rcx * width < PAGE_SIZE:
            return
        size = PAGE_SIZE - registers.rdi % PAGE_SIZE
        physical = _walk(registers.rdi, registers.cr3, space, _DIRTY)
        host = space.host_address(physical) if physical is not None else None
        if host is None or size % width:
            return
        assert physical is not None
        # The page is one of the guest's RAM, mapped as long as the address space lives.
        ctypes.memset(host, 0, size)
        space.invalidate_code_at(physical)
        registers.rdi = registers.rdi + size & _MASK64
        registers.rcx -= size // width


def _element_width(code: bytes) -> int:
    for opcode, width in ((_STOSB, 1), (_STOSD, 4), (_STOSQ, 8)):
        if code.startswith(opcode):
            return width
    return 0


def _code_at(registers: UnicornRegisters, space: AddressSpace) -> bytes:
    """The bytes at RIP as far as they lie in one page; empty where they cannot be read."""
    physical = _walk(registers.rip, registers.cr3, space, 0)
    host = space.host_address(physical) if physical is not None else None
    room = min(len(_STOSQ), PAGE_SIZE - registers.rip % PAGE_SIZE)
    # As above.
    return ctypes.string_at(host, room) if host is not None else b""


def _walk(address: int, cr3: int, space: AddressSpace, leaf: int) -> int | None:
    """The physical address behind a virtual one whose entries are writable and accessed, and have ``leaf`` set."""
    if address >> 47 not in _CANONICAL:
        return None
    table = cr3 & _ADDRESS
    for shift in _LEVEL_SHIFTS:
        host = space.host_address(table + 8 * (address >> shift & 511))
        if host is None:
            return None
        entry = ctypes.c_uint64.from_address(host).value
        if entry & _PRESENT_WRITABLE_ACCESSED != _PRESENT_WRITABLE_ACCESSED:
            return None
        if shift == _LEVEL_SHIFTS[-1] or entry & _LARGE:
            if entry & leaf != leaf:
                return None
            mask = (1 << shift) - 1
            return entry & _ADDRESS & ~mask | address & mask
        table = entry & _ADDRESS
    raise AssertionError("the last level is that of pages")
