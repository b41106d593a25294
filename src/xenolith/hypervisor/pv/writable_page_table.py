"""Stores of a PV guest's kernel to its page tables of level 1, which it can only read: done as checked updates.

Linux changes single entries by XCHG, LOCK AND and their like. Behaves as ptwr_do_page_fault in
xen/arch/x86/pv/ro-page-fault.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.abi.errno import XenError
from xenolith.hypervisor.pv.arithmetic import CF, RESULT_FLAGS, add, logic_flags, subtract
from xenolith.hypervisor.pv.instruction import Instruction, decode, fetch
from xenolith.hypervisor.pv.page_type import PageType
from xenolith.machine.address import PAGE_SHIFT, GuestVirt

if TYPE_CHECKING:
    from xenolith.hypervisor.pv.vcpu import PvVcpu

_ENTRY_BYTES = 8
_RAX = 0
_MASK64 = (1 << 64) - 1
_ALL_BITS = 63


class Store:
    """A store under way: the operand's old value, and what the instruction makes of it and of the registers."""

    def __init__(self, vcpu: PvVcpu, instruction: Instruction, size: int, old: int) -> None:
        self.instruction = instruction
        self.size = size
        self.mask = (1 << 8 * size) - 1
        self.old = old
        self.new = old
        self.length = instruction.length + instruction.operand_length
        self.flags: int | None = None
        """The arithmetic flags afterwards, if they change."""
        self.register: tuple[int, int] | None = None
        """A register that gets the operand's size of a value."""
        self._registers = vcpu.registers

    @property
    def source(self) -> int:
        """What of the register operand takes part."""
        return self._registers.general(self.instruction.register) & self.mask

    @property
    def other_flags(self) -> int:
        """The arithmetic flags that there are."""
        return self._registers.rflags & RESULT_FLAGS

    @property
    def accumulator(self) -> int:
        """What of RAX takes part."""
        return self._registers.rax & self.mask


def emulate_store(vcpu: PvVcpu, address: GuestVirt) -> bool:
    """Do the store at RIP to ``address``, if it is one to an entry of level 1 that is allowed; else do nothing."""
    domain = vcpu.domain
    try:
        _, leaf = vcpu.paging.leaf(address)
    except XenError:
        return False
    mfn = (leaf & 0x000F_FFFF_FFFF_F000) >> PAGE_SHIFT
    if domain.types.type_of(mfn) is not PageType.L1:
        return False
    instruction = decode(fetch(vcpu, vcpu.registers.rip))
    action = _ACTIONS.get(instruction.opcode) if instruction is not None else None
    if instruction is None or action is None:
        return False
    size = instruction.operand_size if instruction.opcode in _FULL_SIZE else 1
    shift = 8 * (address % _ENTRY_BYTES)
    if address % size:
        return False
    at = mfn << PAGE_SHIFT | address & 0xFF8
    entry = int.from_bytes(domain.memory.machine.view[at : at + _ENTRY_BYTES], "little")
    store = Store(vcpu, instruction, size, entry >> shift & (1 << 8 * size) - 1)
    if not action(store):
        return False
    value = entry & ~(store.mask << shift) | (store.new & store.mask) << shift
    try:
        domain.page_tables.update_l1(mfn, at >> 3 & 511, value)
    except XenError:
        return False
    _finish(vcpu, store)
    return True


def _finish(vcpu: PvVcpu, store: Store) -> None:
    registers = vcpu.registers
    registers.rip = registers.rip + store.length & _MASK64
    if store.flags is not None:
        vcpu.engine_vcpu.set_rflags(registers.rflags & ~RESULT_FLAGS | store.flags)
    if store.register is not None:
        number, value = store.register
        if store.size < 4:
            value |= registers.general(number) & ~store.mask
        registers.set_general(number, value)


def _move(store: Store) -> bool:
    store.new = store.source
    return True


def _move_immediate(store: Store) -> bool:
    if store.instruction.extension:
        return False
    size = min(store.size, 4)
    store.new = store.instruction.immediate(size)
    store.length += size
    return True


def _exchange(store: Store) -> bool:
    store.new = store.source
    store.register = store.instruction.register, store.old
    return True


def _compare_exchange(store: Store) -> bool:
    _, store.flags = subtract(store.accumulator, store.old, store.size)
    if store.accumulator == store.old:
        store.new = store.source
    else:
        store.register = _RAX, store.old
    return True


def _exchange_add(store: Store) -> bool:
    store.register = store.instruction.register, store.old
    store.new, store.flags = add(store.old, store.source, store.size)
    return True


def _combine(store: Store, operation: int, operand: int) -> bool:
    """The operations of group 1, by their number; those that are not used on page tables are left out."""
    operand &= store.mask
    match operation:
        case 0:
            store.new, store.flags = add(store.old, operand, store.size)
        case 1:
            store.new = store.old | operand
        case 4:
            store.new = store.old & operand
        case 5:
            store.new, store.flags = subtract(store.old, operand, store.size)
        case 6:
            store.new = store.old ^ operand
        case _:
            return False
    if store.flags is None:
        store.flags = logic_flags(store.new, store.size)
    return True


def _group1_register(store: Store) -> bool:
    return _combine(store, store.instruction.opcode >> 3, store.source)


def _group1_immediate(store: Store) -> bool:
    size = min(store.size, 4) if store.instruction.opcode == 0x81 else 1
    store.length += size
    return _combine(store, store.instruction.extension, store.instruction.immediate(size))


def _change_bit(store: Store, operation: int, bit: int) -> bool:
    """BTS, BTR and BTC, by the numbers they have in group 8."""
    value = 1 << (bit & 8 * store.size - 1)
    store.flags = store.other_flags & ~CF | (CF if store.old & value else 0)
    match operation:
        case 5:
            store.new = store.old | value
        case 6:
            store.new = store.old & ~value
        case 7:
            store.new = store.old ^ value
        case _:
            return False
    return True


def _bit_register(store: Store) -> bool:
    return _change_bit(store, 4 | store.instruction.opcode >> 3 & 3, store.source & _ALL_BITS)


def _bit_immediate(store: Store) -> bool:
    store.length += 1
    return _change_bit(store, store.instruction.extension, store.instruction.immediate(1))


_BYTES: dict[int, Callable[[Store], bool]] = {
    0x00: _group1_register,
    0x08: _group1_register,
    0x20: _group1_register,
    0x28: _group1_register,
    0x30: _group1_register,
    0x80: _group1_immediate,
    0x86: _exchange,
    0x88: _move,
    0xC6: _move_immediate,
    0x0FB0: _compare_exchange,
    0x0FC0: _exchange_add,
}
_WORDS: dict[int, Callable[[Store], bool]] = {
    **{opcode + 1: action for opcode, action in _BYTES.items()},
    0x83: _group1_immediate,
    0x0FAB: _bit_register,
    0x0FB3: _bit_register,
    0x0FBB: _bit_register,
    0x0FBA: _bit_immediate,
    0x0FC3: _move,
}
_ACTIONS = _BYTES | _WORDS
_FULL_SIZE = frozenset(_WORDS)
