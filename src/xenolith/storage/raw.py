"""Raw images: a file or a block device whose bytes are those of the disk. So are a fixed VHD's.

The last sector of a file that does not end with one is padded with zeroes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from xenolith.storage import fallocate
from xenolith.storage.file import ImageFile
from xenolith.storage.holes import data_and_holes
from xenolith.storage.image import SECTOR_SIZE, Extent
from xenolith.storage.segment import Segment
from xenolith.storage.vector import Cutter, fill_zeroes, total


class RawImage:
    """A raw image (:class:`xenolith.storage.image.Image`), which owns its descriptor."""

    def __init__(self, file: ImageFile, *, read_only: bool, size: int | None = None) -> None:
        """``size`` is the disk's length in bytes where the file goes on after it."""
        self._file: ImageFile | None = file
        self._read_only = read_only
        self._size = size

    @property
    def files(self) -> list[ImageFile]:
        """The one file."""
        return [self._open_file]

    @property
    def _open_file(self) -> ImageFile:
        if self._file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._file

    @property
    def size(self) -> int:
        """Length in bytes, as it is now: others may extend the file."""
        if self._size is not None:
            return self._size
        return -(-self._open_file.size // SECTOR_SIZE) * SECTOR_SIZE

    @property
    def read_only(self) -> bool:
        """Whether it was opened for reading only."""
        return self._read_only

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill the buffers, with zeroes where the file has been cut meanwhile."""
        length = total(buffers)
        done = self._open_file.readv(buffers, offset)
        if done < length:
            cutter = Cutter(buffers)
            cutter.take(done)
            fill_zeroes(cutter.take(length - done))

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fill the buffers from the page cache, or say that they are not."""
        return self._open_file.readv_nowait(buffers, offset)

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Store the buffers."""
        self._writable_file().writev(buffers, offset)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Punch a hole, or write zeroes where the host cannot do that."""
        fallocate.make_zero(self._writable_file(), offset, length)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole where the host can."""
        if length:
            fallocate.punch_hole(self._writable_file(), offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Data and holes, as far as the file system tells them apart (lseek(2))."""
        for start, end, data in data_and_holes(self._open_file, offset, offset + length):
            yield Extent(end - start, allocated=data, zero=not data)

    def segments(self, start: int, end: int) -> list[Segment]:
        """The one run that a range is, in the file."""
        return [Segment(start, end, self._open_file, start)]

    def flush(self) -> None:
        """fdatasync(2)."""
        self._open_file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writable_file(self) -> ImageFile:
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self._open_file
