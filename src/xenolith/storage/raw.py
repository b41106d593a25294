"""Raw images: a file or a block device whose bytes are those of the disk.

The last sector of a file that does not end with one is padded with zeroes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from xenolith.storage import fallocate
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE, Extent
from xenolith.storage.vector import Cutter, fill_zeroes, total


class RawImage:
    """A raw image (:class:`xenolith.storage.image.Image`), which owns its descriptor."""

    def __init__(self, file: ImageFile, *, read_only: bool) -> None:
        self._file: ImageFile | None = file
        self._read_only = read_only

    @property
    def _open_file(self) -> ImageFile:
        if self._file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._file

    @property
    def size(self) -> int:
        """Length in bytes, as it is now: others may extend the file."""
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
        end = offset + length
        while offset < end:
            data = self._seek(offset, os.SEEK_DATA, end)
            if offset < data:
                yield Extent(data - offset, allocated=False, zero=True)
            # From the end of its first sector on, so that there is progress in any case.
            offset = self._seek(data + SECTOR_SIZE - 1, os.SEEK_HOLE, end) if data < end else end
            if data < offset:
                yield Extent(offset - data, allocated=True, zero=False)

    def flush(self) -> None:
        """fdatasync(2)."""
        self._open_file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _seek(self, offset: int, whence: int, end: int) -> int:
        """Where data or a hole begins at or after ``offset``, in whole sectors up to ``end``."""
        try:
            found = os.lseek(self._open_file.fd, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # No data follows; and there is no hole in what was cut off meanwhile.
                return end
            if error.errno == errno.EINVAL:
                # A device that knows no holes.
                return offset if whence == os.SEEK_DATA else end
            raise
        if whence == os.SEEK_HOLE:
            return min(-(-found // SECTOR_SIZE) * SECTOR_SIZE, end)
        return min(max(found // SECTOR_SIZE * SECTOR_SIZE, offset), end)

    def _writable_file(self) -> ImageFile:
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self._open_file
