"""An open kernel or ramdisk file, with the name that messages about it use.

The domain process gets files as descriptors, because its jail does not let it open any.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from xenolith.builder.errors import BuildError

_LARGEST_READ = 1 << 30
"""Linux transfers at most 2 GiB per read; stay well below."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A descriptor opened for reading, and what to call the file in messages."""

    fd: int
    name: str

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self.fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset``; BuildError where the file is shorter."""
        data = bytearray(size)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` from ``offset`` without an intermediate copy; BuildError if short."""
        done = 0
        while done < len(target):
            part = target[done : done + _LARGEST_READ]
            count = os.preadv(self.fd, [part], offset + done)
            if count == 0:
                raise self.truncated()
            done += count

    def truncated(self) -> BuildError:
        """What to raise where the file ended too early."""
        return BuildError(f"{self.name} is truncated")
