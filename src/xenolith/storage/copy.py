"""Copying the contents of images, leaving out what is zero."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from xenolith.storage.file import ImageFile
from xenolith.storage.image import MappedImage
from xenolith.storage.progress import Progress
from xenolith.storage.raw import RawImage
from xenolith.storage.vector import is_zero
from xenolith.storage.vhd.chain import Chain

_CHUNK = 2 << 20
_WINDOW = 1 << 30
"""To be asked for extents at once."""
_GRAIN = 64 << 10
"""So many zeroes in a row are worth leaving out."""
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


def copy_image(source: RawImage | Chain, target: RawImage | Chain, progress: Progress) -> None:
    """Copy all that is not zero to an image that is at least as large, and all zeroes as yet."""
    copy = _Copy(source, target)
    size = source.size
    for start, end in data_ranges(source):
        for low in range(start, end, _CHUNK):
            progress(low, size)
            copy.range(low, min(end, low + _CHUNK))
    target.flush()
    progress(size, size)


def data_ranges(image: MappedImage) -> Iterator[tuple[int, int]]:
    """Where an image may hold something else than zeroes, as starts and ends."""
    at = 0
    for start in range(0, image.size, _WINDOW):
        for extent in image.extents(start, min(_WINDOW, image.size - start)):
            if not extent.zero:
                yield at, at + extent.length
            at += extent.length


class _Copy:
    def __init__(self, source: RawImage | Chain, target: RawImage | Chain) -> None:
        self._source = source
        self._target = target
        self._buffer = memoryview(bytearray(_CHUNK))
        self._in_kernel = isinstance(target, RawImage)

    def range(self, start: int, end: int) -> None:
        """Copy a range of at most a chunk."""
        if self._in_kernel and isinstance(self._target, RawImage):
            try:
                self._copy_in_kernel(self._target.files[0], start, end)
                return
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                self._in_kernel = False
        part = self._buffer[: end - start]
        self._source.readv([part], start)
        for low, high in _runs_of_data(part):
            self._target.writev([part[low:high]], start + low)

    def _copy_in_kernel(self, target: ImageFile, start: int, end: int) -> None:
        """Let the file systems share the data, or copy it without us (copy_file_range(2))."""
        for segment in self._source.segments(start, end):
            at = segment.start
            while segment.file is not None and at < segment.end:
                offset = segment.offset + at - segment.start
                count = os.copy_file_range(segment.file.fd, target.fd, segment.end - at, offset, at)
                if count == 0:
                    break
                at += count


def _runs_of_data(buffer: memoryview) -> Iterator[tuple[int, int]]:
    start: int | None = None
    for low in range(0, len(buffer), _GRAIN):
        if is_zero([buffer[low : low + _GRAIN]]):
            if start is not None:
                yield start, low
            start = None
        elif start is None:
            start = low
    if start is not None:
        yield start, len(buffer)
