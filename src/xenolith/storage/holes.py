"""Where a file has data and where it has holes, as far as its file system tells (lseek(2))."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE


def data_and_holes(file: ImageFile, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Runs of whole sectors that make up a range: start, end, and whether there is data.

    ``start`` is a multiple of the sector size. What lies beyond the end of the file is a hole.
    """
    while start < end:
        data = _seek(file, start, os.SEEK_DATA, end)
        if start < data:
            yield start, data, False
        # From the end of its first sector on, so that there is progress in any case.
        start = _seek(file, data + SECTOR_SIZE - 1, os.SEEK_HOLE, end) if data < end else end
        if data < start:
            yield data, start, True


def _seek(file: ImageFile, offset: int, whence: int, end: int) -> int:
    """Where data or a hole begins at or after ``offset``, in whole sectors up to ``end``."""
    try:
        found = os.lseek(file.fd, offset, whence)
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
