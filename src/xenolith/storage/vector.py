"""Lists of buffers as one run of bytes, as for readv(2): how long it is, and parts of it."""

from __future__ import annotations

from collections.abc import Sequence

_ZEROES = bytes(1 << 16)


def total(buffers: Sequence[memoryview]) -> int:
    """Bytes in all buffers."""
    return sum(map(len, buffers))


def advance(buffers: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """The buffers without their first ``count`` bytes."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[index + 1 :]] if count else buffers[index:]
        count -= len(buffer)
    return []


class Cutter:
    """Cuts a run of buffers into consecutive parts."""

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers
        self._index = 0
        self._start = 0

    def take(self, length: int) -> list[memoryview]:
        """The next ``length`` bytes, which must be there."""
        taken = []
        while length:
            buffer = self._buffers[self._index]
            end = self._start + length
            if end < len(buffer):
                taken.append(buffer[self._start : end])
                self._start = end
                break
            taken.append(buffer[self._start :] if self._start else buffer)
            length = end - len(buffer)
            self._index += 1
            self._start = 0
        return taken


def fill_zeroes(buffers: Sequence[memoryview]) -> None:
    """Set every byte to zero."""
    for buffer in buffers:
        for start in range(0, len(buffer), len(_ZEROES)):
            part = buffer[start : start + len(_ZEROES)]
            part[:] = _ZEROES if len(part) == len(_ZEROES) else _ZEROES[: len(part)]


def is_zero(buffers: Sequence[memoryview]) -> bool:
    """Whether every byte is zero."""
    return all(_is_zero(buffer) for buffer in buffers)


def _is_zero(buffer: memoryview) -> bool:
    # Data that is not zero mostly shows it in its first bytes; the rest is compared by memcmp(3).
    head = buffer[:64].tobytes()
    if head.count(0) != len(head):
        return False
    for start in range(64, len(buffer), len(_ZEROES)):
        part = buffer[start : start + len(_ZEROES)].tobytes()
        if part != (_ZEROES if len(part) == len(_ZEROES) else _ZEROES[: len(part)]):
            return False
    return True
