"""Results and flags of the few operations that the hypervisor does in the guest's place (Intel SDM, volume 1)."""

from __future__ import annotations

CF, PF, AF, ZF, SF, OF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11
RESULT_FLAGS = CF | PF | AF | ZF | SF | OF


def logic_flags(result: int, size: int) -> int:
    """The flags of AND, OR and XOR of ``size`` bytes."""
    flags = 0 if (result & 0xFF).bit_count() & 1 else PF
    if not result:
        flags |= ZF
    return flags | (SF if result >> 8 * size - 1 & 1 else 0)


def add(left: int, right: int, size: int) -> tuple[int, int]:
    """The sum of two numbers of ``size`` bytes, and its flags."""
    total = left + right
    result = total & (1 << 8 * size) - 1
    return result, _flags(left, right, result, size, total >> 8 * size, ~(left ^ right))


def subtract(left: int, right: int, size: int) -> tuple[int, int]:
    """The difference of two numbers of ``size`` bytes, and its flags; those of a comparison, too."""
    result = left - right & (1 << 8 * size) - 1
    return result, _flags(left, right, result, size, left < right, left ^ right)


def _flags(left: int, right: int, result: int, size: int, carry: int, signs: int) -> int:
    flags = logic_flags(result, size)
    if carry:
        flags |= CF
    if (left ^ right ^ result) & 16:
        flags |= AF
    overflow = signs & (left ^ result)
    return flags | (OF if overflow >> 8 * size - 1 & 1 else 0)
