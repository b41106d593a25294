"""The few instructions that loops which only count are made of, and what a round of them does to the registers.

Each sets a register to a constant, to another register, or to either plus a constant; or it compares two such
values without regard to sign, or branches. So what a round makes of the registers is the same sum of them in every
round that goes the same way. Encodings are those of the Intel SDM, volume 2, in 64-bit mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_MOST_INSTRUCTIONS = 32
_LONGEST = 8
_MASK32, _MASK64 = (1 << 32) - 1, (1 << 64) - 1
_REX_W, _REX_R, _REX_B = 8, 4, 1

_BELOW, _EQUAL, _BELOW_OR_EQUAL = 2, 4, 6
"""Conditions of branches, less the bit that turns them around."""


class Comparison(NamedTuple):
    """Two numbers below ``limit`` that a branch depended on."""

    left: int
    right: int
    limit: int


class Round(NamedTuple):
    """What came of one round."""

    registers: tuple[int, ...]
    way: tuple[int, ...]
    """The addresses of its instructions."""
    comparisons: tuple[Comparison, ...]


class _Machine:
    """The registers in the middle of a round."""

    def __init__(self, registers: tuple[int, ...], rip: int) -> None:
        self.registers = list(registers)
        self.rip = rip
        self.compared: Comparison | None = None
        self.comparisons: list[Comparison] = []

    def step(self, code: bytes) -> bool:
        """Do one instruction; False if it is not one of those known here."""
        at, rex = 0, 0
        if code[0] & 0xF0 == 0x40:
            rex, at = code[0], 1
        opcode = code[at]
        if opcode & 0xF0 == 0x70:
            return self._branch(opcode & 15, at + 2, _signed(code[at + 1 : at + 2]))
        if opcode == 0x0F and code[at + 1] & 0xF0 == 0x80:
            return self._branch(code[at + 1] & 15, at + 6, _signed(code[at + 2 : at + 6]))
        if opcode in (0xEB, 0xE9):
            size = 1 if opcode == 0xEB else 4
            self.rip += at + 1 + size + _signed(code[at + 1 : at + 1 + size])
            return True
        self.mask = _MASK64 if rex & _REX_W else _MASK32
        if opcode & 0xF8 == 0xB8 and not rex & _REX_W:
            self._set(
                opcode & 7 | (rex & _REX_B) << 3, int.from_bytes(code[at + 1 : at + 5], "little")
            )
            return self._next(at + 5)
        return self._with_operands(opcode, code[at + 1 :], rex, at + 2)

    def _with_operands(self, opcode: int, operands: bytes, rex: int, length: int) -> bool:
        """Instructions with a ModRM byte that names two registers, or one and more of the opcode."""
        modrm = operands[0]
        if modrm >> 6 != 3:
            return False
        reg = modrm >> 3 & 7 | (rex & _REX_R) << 1
        rm = modrm & 7 | (rex & _REX_B) << 3
        extension = modrm >> 3 & 7
        match opcode:
            case 0x39:
                self._compare(self._get(rm), self._get(reg))
            case 0x3B:
                self._compare(self._get(reg), self._get(rm))
            case 0x89:
                self._set(rm, self._get(reg))
            case 0x8B:
                self._set(reg, self._get(rm))
            case 0x31 | 0x33 if reg == rm:
                self._set(rm, 0)
                self.compared = None
            case 0xFF if extension in (0, 1):
                self._set(rm, self._get(rm) + 1 - 2 * extension)
                self.compared = None
            case 0x83 if extension in (0, 5):
                number = _signed(operands[1:2])
                self._set(rm, self._get(rm) + (number if extension == 0 else -number))
                self.compared = None
                length += 1
            case 0x83 if extension == 7:
                self._compare(self._get(rm), _signed(operands[1:2]) & self.mask)
                length += 1
            case _:
                return False
        return self._next(length)

    def _next(self, length: int) -> bool:
        self.rip += length
        return True

    def _get(self, number: int) -> int:
        return self.registers[number] & self.mask

    def _set(self, number: int, value: int) -> None:
        self.registers[number] = value & self.mask

    def _compare(self, left: int, right: int) -> None:
        self.compared = Comparison(left, right, self.mask + 1)

    def _branch(self, condition: int, length: int, distance: int) -> bool:
        if self.compared is None:
            return False
        left, right, _ = self.compared
        match condition & ~1:
            case value if value == _BELOW:
                met = left < right
            case value if value == _EQUAL:
                met = left == right
            case value if value == _BELOW_OR_EQUAL:
                met = left <= right
            case _:
                return False
        self.comparisons.append(self.compared)
        self.rip += length + (distance if met != bool(condition & 1) else 0)
        return True


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def follow(registers: tuple[int, ...], rip: int, read_code: Callable[[int], bytes]) -> Round | None:
    """Do instructions from ``rip`` on until it is reached again; None if that is not to be seen from here."""
    machine = _Machine(registers, rip)
    way = []
    for _ in range(_MOST_INSTRUCTIONS):
        way.append(machine.rip)
        code = read_code(machine.rip)
        if len(code) < _LONGEST or not machine.step(code):
            return None
        machine.rip &= _MASK64
        if machine.rip == rip:
            return Round(tuple(machine.registers), tuple(way), tuple(machine.comparisons))
    return None
