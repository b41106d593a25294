"""The seam between disk images and whoever serves them: a block backend, the NBD server, `vhd`.

An image is an array of bytes of fixed length, read and written in whole sectors of 512 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

SECTOR_SIZE = 512


class Image(Protocol):
    """An open disk image. Its methods may be called by several threads at once.

    Offsets and lengths are bytes, multiples of :data:`SECTOR_SIZE`, within ``size``: callers check
    what they were asked. OSError where the host fails (ENOSPC, EIO); ImageError where the image
    itself is unsound.
    """

    @property
    def size(self) -> int:
        """Length of the virtual disk in bytes; it may grow while the image is open."""

    @property
    def read_only(self) -> bool:
        """Whether everything that changes the image is refused with EROFS."""

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill all buffers, one after the other, from ``offset``."""

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """As ``readv`` if no device has to be waited for. False: it would wait, call ``readv``."""

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Store all buffers, one after the other, at ``offset``."""

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeroes, without allocating what is not allocated."""

    def discard(self, offset: int, length: int) -> None:
        """Give a range back where the format can; what it reads as afterwards is not defined."""

    def flush(self) -> None:
        """Return when every write that was complete before the call survives a power failure."""

    def close(self) -> None:
        """Release locks and descriptors, without a flush; closing twice is harmless."""


class Extent(NamedTuple):
    """A run of bytes of an image that are stored alike."""

    length: int
    allocated: bool
    """Whether the image, or a parent of it, holds bytes for the run."""
    zero: bool
    """Whether the run is known to read as zeroes."""


class MappedImage(Image, Protocol):
    """An image that can tell where its data is. An image that has no ``extents`` is all data."""

    def extents(self, offset: int, length: int) -> Iterable[Extent]:
        """Describe a range in order and without gaps: the lengths add up to ``length``."""
