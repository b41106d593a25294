"""One direction of a byte ring in a page shared with the guest: free-running indices, a power-of-two buffer.

The console's and xenstore's rings are such (public/io/console.h, public/io/xs_wire.h).
"""

from __future__ import annotations

_INDEX_MASK = 0xFFFFFFFF


class RingError(Exception):
    """The guest has put the indices further apart than the ring is long."""


class ByteRing:
    """``size`` bytes at ``data`` of a page, the consumer's and producer's indices at ``cons`` and ``prod``.

    No guest code runs while a method does, so each index is read once and written last.
    """

    def __init__(self, page: memoryview, data: int, size: int, cons: int, prod: int) -> None:
        self._buffer = page[data : data + size]
        self._size = size
        self._cons = page[cons : cons + 4].cast("I")
        self._prod = page[prod : prod + 4].cast("I")

    def read(self, limit: int) -> bytes:
        """Consume at most ``limit`` bytes; RingError if the indices are nonsense."""
        cons, used = self._indices()
        used = min(used, limit)
        if not used:
            return b""
        start = cons % self._size
        first = bytes(self._buffer[start : min(start + used, self._size)])
        rest = bytes(self._buffer[: used - len(first)])
        self._cons[0] = cons + used & _INDEX_MASK
        return first + rest

    def write(self, data: bytes) -> int:
        """Produce as much of ``data`` as fits; the number of bytes. RingError as for :meth:`read`."""
        cons, used = self._indices()
        count = min(len(data), self._size - used)
        start = (cons + used) % self._size
        first = min(count, self._size - start)
        self._buffer[start : start + first] = data[:first]
        self._buffer[: count - first] = data[first:count]
        self._prod[0] = cons + used + count & _INDEX_MASK
        return count

    def reset(self) -> None:
        """Drop what is in the ring."""
        self._cons[0] = self._prod[0]

    def _indices(self) -> tuple[int, int]:
        """The consumer's index and the number of bytes in the ring."""
        cons = self._cons[0]
        used = self._prod[0] - cons & _INDEX_MASK
        if used > self._size:
            raise RingError(f"a ring of {self._size} bytes holds {used}")
        return cons, used
