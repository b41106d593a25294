"""The bytes of a disk as libraries for file systems want them: as files that can be read and sought.

Below is any :class:`xenolith.storage.image.Image`; what lies beyond its end does not exist.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Protocol

from xenolith.storage.image import SECTOR_SIZE, Image

_BLOCK = 1 << 16
_BLOCKS_KEPT = 128
_LARGEST_CACHED = 2 * _BLOCK


class Bytes(Protocol):
    """What has file systems on it: a disk, or a volume made of pieces of one."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes at ``offset``: less only at the end."""


class Disk:
    """An image of which small parts are read again and again."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.size = image.size
        """In bytes."""
        self._block = lru_cache(_BLOCKS_KEPT)(self._read_block)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes at ``offset``: less only where the disk ends."""
        length = min(length, self.size - offset)
        if length <= 0 or offset < 0:
            return b""
        if length > _LARGEST_CACHED:
            start = offset - offset % SECTOR_SIZE
            end = -(-(offset + length) // SECTOR_SIZE) * SECTOR_SIZE
            data = self._read(start, min(end, self.size) - start)
            return data[offset - start : offset - start + length]
        first, last = offset // _BLOCK, (offset + length - 1) // _BLOCK
        data = b"".join(self._block(number) for number in range(first, last + 1))
        return data[offset - first * _BLOCK :][:length]

    def _read_block(self, number: int) -> bytes:
        start = number * _BLOCK
        return self._read(start, min(_BLOCK, self.size - start))

    def _read(self, start: int, length: int) -> bytes:
        data = bytearray(length)
        self._image.readv([memoryview(data)], start)
        return bytes(data)


class DiskStream(io.RawIOBase):
    """A part of a disk as a binary file."""

    def __init__(self, disk: Bytes, start: int, size: int) -> None:
        """``start`` and ``size`` are bytes; the part ends with the disk at the latest."""
        super().__init__()
        self._disk = disk
        self._start = start
        self.size = max(0, min(size, disk.size - start))
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, perhaps beyond the end; ValueError before the beginning."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes: less only at the end."""
        left = max(0, self.size - self._position)
        if size is None or size < 0 or size > left:
            size = left
        data = self._disk.read(self._start + self._position, size)
        self._position += len(data)
        return data
