"""An image whose structure can change while it is served (:mod:`xenolith.storage.changes`).

Requests pass through a gate, which a change shuts to put a new structure in the old one's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

from xenolith.storage.file import ImageFile
from xenolith.storage.gate import Gate
from xenolith.storage.image import Extent
from xenolith.storage.raw import RawImage
from xenolith.storage.vector import total
from xenolith.storage.vhd.chain import Chain


class LiveImage:
    """An image (:class:`xenolith.storage.image.Image`) that passes requests on to another.

    ``image`` is replaced by changes only, which hold ``changing`` and are alone within ``gate``.
    """

    def __init__(self, image: RawImage | Chain, *, is_raw: bool) -> None:
        """``is_raw`` tells a raw file from a fixed VHD."""
        self.image = image
        self.is_raw = is_raw
        self.gate = Gate()
        self.changing = Lock()
        self.closing = False
        """Whoever changes the image gives up."""
        self._watching = Lock()
        self._block_size = 0
        self._written: set[int] | None = None

    @property
    def files(self) -> list[ImageFile]:
        """The files of the image, the leaf first."""
        return self.image.files

    @property
    def size(self) -> int:
        """Length of the disk in bytes."""
        return self.image.size

    @property
    def read_only(self) -> bool:
        """Whether the image was opened for reading only."""
        return self.image.read_only

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill the buffers."""
        with self.gate:
            self.image.readv(buffers, offset)

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fill the buffers if no device has to be waited for."""
        with self.gate:
            return self.image.readv_nowait(buffers, offset)

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Store the buffers."""
        with self.gate:
            self.image.writev(buffers, offset)
            self._note(offset, buffers)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Make a range read as zeroes."""
        with self.gate:
            self.image.write_zeroes(offset, length)
            self._note(offset, length)

    def discard(self, offset: int, length: int) -> None:
        """Give a range back."""
        with self.gate:
            self.image.discard(offset, length)
            self._note(offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Where there is data."""
        with self.gate:
            found = list(self.image.extents(offset, length))
        return iter(found)

    def flush(self) -> None:
        """Put all that was written before on the disk."""
        with self.gate:
            self.image.flush()

    def close(self) -> None:
        """Complete the image's tables and close its files; a change under way gives up."""
        self.closing = True
        with self.changing, self.gate.alone():
            self.image.close()

    def watch(self, block_size: int) -> None:
        """Remember from now on which blocks of the disk are changed."""
        with self._watching:
            self._block_size = block_size
            self._written = set()

    def written(self) -> set[int]:
        """The blocks that were changed since the last call, or since :meth:`watch`."""
        with self._watching:
            found, self._written = self._written or set(), set()
            return found

    def unwatch(self) -> None:
        """Remember no more."""
        with self._watching:
            self._written = None

    def _note(self, offset: int, what: int | Sequence[memoryview]) -> None:
        # Only when it is complete: who copies the block then copies what was written.
        if self._written is None:
            return
        end = offset + (what if isinstance(what, int) else total(what))
        with self._watching:
            if self._written is not None:
                last = -(-end // self._block_size)
                self._written.update(range(offset // self._block_size, last))
