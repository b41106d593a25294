"""A chain of image files as one disk: a VHD, its parent, the parent's parent, and so on.

All are read; only the first, the leaf, is written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.holes import data_and_holes
from xenolith.storage.image import SECTOR_SIZE, Extent
from xenolith.storage.segment import Segment
from xenolith.storage.vector import Cutter, fill_zeroes, is_zero, total
from xenolith.storage.vhd.block_map import BlockMap
from xenolith.storage.vhd.layer import Layer
from xenolith.storage.vhd.sparse_layer import SparseLayer
from xenolith.storage.vhd.writable_layer import WritableLayer


class Chain:
    """An image (:class:`xenolith.storage.image.Image`) made of layers, whose files it owns."""

    def __init__(self, leaf: SparseLayer, parents: Sequence[Layer]) -> None:
        self.layers: Sequence[Layer] = (leaf, *parents)
        self._leaf = leaf
        self._block_size = leaf.block_size
        self._map = BlockMap(self.layers, leaf.block_size)
        self._closed = False

    @property
    def files(self) -> list[ImageFile]:
        """The layers' files, the leaf's first."""
        return [layer.file for layer in self.layers]

    @property
    def size(self) -> int:
        """The leaf's; parents may be shorter or longer."""
        return self._leaf.size

    @property
    def read_only(self) -> bool:
        """Whether the leaf was opened for reading only."""
        return not isinstance(self._leaf, WritableLayer)

    def segments(self, start: int, end: int) -> list[Segment]:
        """Where the bytes of a range of the disk, in whole sectors, are."""
        return list(self._map.scan(start, end))

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What is allocated, in whichever file, and what of it is a hole there."""
        for segment in self._map.scan(offset, offset + length):
            if segment.file is None:
                yield Extent(segment.end - segment.start, allocated=False, zero=True)
                continue
            end = segment.offset + segment.end - segment.start
            for low, high, data in data_and_holes(segment.file, segment.offset, end):
                yield Extent(high - low, allocated=True, zero=not data)

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Fill the buffers, by one call of the system for each segment."""
        length = total(buffers)
        if not length:
            return
        for segment, part in self._map_buffers(buffers, offset, length):
            if segment.file is None:
                fill_zeroes(part)
            elif segment.file.readv(part, segment.offset) < segment.end - segment.start:
                raise ImageError(f"{segment.file.name} has been cut while it was used")

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fill the buffers from the page cache, if it is known already where the data is."""
        length = total(buffers)
        if not length:
            return True
        if not self._map.is_known(offset, offset + length):
            return False
        for segment, part in self._map_buffers(buffers, offset, length):
            if segment.file is None:
                fill_zeroes(part)
            elif not segment.file.readv_nowait(part, segment.offset):
                return False
        return True

    def _map_buffers(
        self, buffers: Sequence[memoryview], offset: int, length: int
    ) -> Iterable[tuple[Segment, Sequence[memoryview]]]:
        """The segments of a range, each with the buffers that are for it."""
        segments = self._map.segments(offset, offset + length)
        if len(segments) == 1:
            return ((segments[0], buffers),)
        cutter = Cutter(buffers)
        return ((segment, cutter.take(segment.end - segment.start)) for segment in segments)

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Store the buffers in the leaf; zeroes where there are zeroes allocate nothing."""
        leaf = self._writable_leaf()
        pieces = list(self._pieces(offset, offset + total(buffers)))
        cutter = Cutter(buffers) if len(pieces) > 1 else None
        for block, start, end in pieces:
            part = buffers if cutter is None else cutter.take(end - start)
            place = leaf.place_of(block)
            if place is None:
                if is_zero(part) and self._is_empty(start, end):
                    continue
                place = self._allocate(leaf, block)
            leaf.file.writev(part, place + start - block * self._block_size)
            self._mark(leaf, block, start, end)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Punch holes into the leaf, and hide what the parents have there."""
        leaf = self._writable_leaf()
        for block, start, end in self._pieces(offset, offset + length):
            if self._is_empty(start, end):
                continue
            place = leaf.place_of(block)
            if place is None:
                place = self._allocate(leaf, block)
            leaf.punch(place + start - block * self._block_size, end - start)
            self._mark(leaf, block, start, end)

    def allocate(self, start: int, end: int) -> None:
        """Give the blocks of a range a place in the leaf; the disk does not change."""
        leaf = self._writable_leaf()
        for block, _, _ in self._pieces(start, end):
            if leaf.place_of(block) is None:
                self._allocate(leaf, block)

    def discard(self, offset: int, length: int) -> None:
        """Punch holes into what the leaf has."""
        leaf = self._writable_leaf()
        for block, start, end in self._pieces(offset, offset + length):
            place = leaf.place_of(block)
            if place is not None:
                leaf.punch(place + start - block * self._block_size, end - start)

    def flush(self) -> None:
        """Put all that was written before on the disk."""
        if isinstance(self._leaf, WritableLayer):
            self._leaf.flush()

    def close(self) -> None:
        """Complete the leaf's tables and close all files."""
        if self._closed:
            return
        self._closed = True
        try:
            if isinstance(self._leaf, WritableLayer) and self._leaf.is_dirty:
                self._leaf.flush()
        finally:
            for layer in self.layers:
                layer.file.close()

    def _writable_leaf(self) -> WritableLayer:
        if isinstance(self._leaf, WritableLayer):
            return self._leaf
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """A range block by block: the block, and the start and end of the part in it."""
        while start < end:
            block, within = divmod(start, self._block_size)
            stop = min(end, start - within + self._block_size)
            yield block, start, stop
            start = stop

    def _is_empty(self, start: int, end: int) -> bool:
        return all(segment.file is None for segment in self._map.segments(start, end))

    def _allocate(self, leaf: WritableLayer, block: int) -> int:
        place = leaf.allocate(block)
        self._map.forget(block)
        return place

    def _mark(self, leaf: WritableLayer, block: int, start: int, end: int) -> None:
        base = block * self._block_size
        if leaf.mark(block, (start - base) // SECTOR_SIZE, (end - base) // SECTOR_SIZE):
            self._map.forget(block)
        if leaf.must_flush:
            leaf.flush()
