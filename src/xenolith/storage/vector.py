"""Lists of buffers as one run of bytes, as for readv(2): how long it is, and parts of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import overload

_ZEROES = bytes(1 << 16)


class IoVector(Sequence[memoryview]):
    """Buffers as the system's calls take them: ``parts`` structs iovec at ``address``, within ``memory``.

    A request of a guest has hundreds of them. They are made into views only for who looks at them.
    """

    __slots__ = ("_kept", "_memory", "address", "bytes", "parts")

    def __init__(self, address: int, parts: int, length: int, memory: memoryview) -> None:
        """``length`` is that of all buffers together. Whoever owns the structs outlives this."""
        self.address = address
        self.parts = parts
        self.bytes = length
        self._memory = memory
        self._kept: object = None

    def copy(self) -> IoVector:
        """The same buffers, in structs of its own."""
        structs = ctypes.create_string_buffer(ctypes.string_at(self.address, 16 * self.parts))
        copied = IoVector(ctypes.addressof(structs), self.parts, self.bytes, self._memory)
        copied._kept = structs
        return copied

    def __len__(self) -> int:
        return self.parts

    @overload
    def __getitem__(self, index: int) -> memoryview: ...
    @overload
    def __getitem__(self, index: slice) -> list[memoryview]: ...
    def __getitem__(self, index: int | slice) -> memoryview | list[memoryview]:
        return self._views()[index]

    def __iter__(self) -> Iterator[memoryview]:
        # What Sequence does, one item after the other, would make all views anew for each.
        return iter(self._views())

    def _views(self) -> list[memoryview]:
        words = (ctypes.c_uint64 * (2 * self.parts)).from_address(self.address)[:]
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        starts = [address - base for address in words[::2]]
        return [
            self._memory[start : start + length]
            for start, length in zip(starts, words[1::2], strict=True)
        ]


def total(buffers: Sequence[memoryview]) -> int:
    """Bytes in all buffers."""
    return buffers.bytes if isinstance(buffers, IoVector) else sum(map(len, buffers))


def advance(buffers: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """The buffers without their first ``count`` bytes."""
    buffers = buffers[:]
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[index + 1 :]] if count else buffers[index:]
        count -= len(buffer)
    return []


class Cutter:
    """Cuts a run of buffers into consecutive parts."""

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = buffers[:]
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
    for buffer in buffers[:]:
        for start in range(0, len(buffer), len(_ZEROES)):
            part = buffer[start : start + len(_ZEROES)]
            part[:] = _ZEROES if len(part) == len(_ZEROES) else _ZEROES[: len(part)]


def is_zero(buffers: Sequence[memoryview]) -> bool:
    """Whether every byte is zero."""
    return all(_is_zero(buffer) for buffer in buffers[:])


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
