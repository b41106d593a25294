"""Sets of sectors as integers: sector n of a block is bit n.

On disk a block's bitmap is a string of bits that begins with the most significant bit of the first
byte.
"""

from __future__ import annotations

from collections.abc import Iterator

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def unpack(data: bytes) -> int:
    """The set that a bitmap on disk describes."""
    return int.from_bytes(data.translate(_REVERSED), "little")


def pack(sectors: int, length: int) -> bytes:
    """The bitmap of ``length`` bytes for a set."""
    return sectors.to_bytes(length, "little").translate(_REVERSED)


def mask(first: int, end: int) -> int:
    """The sectors from ``first`` up to ``end``."""
    return (1 << end) - (1 << first)


def runs(sectors: int) -> Iterator[tuple[int, int]]:
    """The runs of neighbours in a set, each as its first sector and its end."""
    at = 0
    while sectors:
        gap = (sectors & -sectors).bit_length() - 1
        sectors >>= gap
        length = (~sectors & (sectors + 1)).bit_length() - 1
        yield at + gap, at + gap + length
        sectors >>= length
        at += gap + length
