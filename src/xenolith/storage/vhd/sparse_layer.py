"""A dynamic or differencing VHD as a layer of a chain, to be read."""

from __future__ import annotations

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import bitmap
from xenolith.storage.vhd.allocation_table import UNUSED, AllocationTable
from xenolith.storage.vhd.layer import Run
from xenolith.storage.vhd.metadata import Metadata, regions


class SparseLayer:
    """One sparse file. It may be used by several threads, as it never changes."""

    def __init__(self, file: ImageFile, metadata: Metadata) -> None:
        assert metadata.header is not None
        self.file = file
        self.size = metadata.size
        self.metadata = metadata
        self.block_size = metadata.header.block_size
        self.bitmap_size = metadata.header.bitmap_size
        self.full = bitmap.mask(0, self.block_size // SECTOR_SIZE)
        """The bitmap of a block whose sectors are all there."""
        self.table = AllocationTable(file, metadata.header.table_offset, metadata.header.entries)
        self._claimed = regions(file, metadata)
        self._file_size = file.size

    def runs(self, start: int, end: int) -> list[Run]:
        """What this file has of a range of the disk."""
        end = min(end, self.size)
        # Most files of a long chain have nothing of a block, and each of them is asked.
        first = start // self.block_size
        if start >= end or (end <= (first + 1) * self.block_size and self.table[first] == UNUSED):
            return []
        found: list[Run] = []
        while start < end:
            block, within = divmod(start, self.block_size)
            stop = min(end, start - within + self.block_size)
            sector = self.table[block]
            if sector != UNUSED:
                data = self.data_offset(block, sector) - block * self.block_size
                sectors = self.bitmap(block, sector)
                if sectors == self.full:
                    found.append(Run(start, stop, data + start))
                else:
                    found += self._present(sectors, block * self.block_size, start, stop, data)
            start = stop
        return found

    def has_nothing(self, start: int, end: int) -> bool:
        """Whether none of the blocks that a range touches has a place."""
        end = min(end, self.size)
        if start >= end:
            return True
        return self.table.are_unused(start // self.block_size, -(-end // self.block_size))

    def _present(self, sectors: int, base: int, start: int, end: int, data: int) -> list[Run]:
        first, last = (start - base) // SECTOR_SIZE, (end - base) // SECTOR_SIZE
        return [
            Run(
                base + low * SECTOR_SIZE, base + high * SECTOR_SIZE, data + base + low * SECTOR_SIZE
            )
            for low, high in bitmap.runs(sectors & bitmap.mask(first, last))
        ]

    def data_offset(self, block: int, sector: int) -> int:
        """Where in the file the data of a block is that the table has at ``sector``."""
        start = sector * SECTOR_SIZE
        end = start + self.bitmap_size + self.block_size
        if end > self._file_size:
            # It may have been extended: a parent is while its child is coalesced into it.
            self._file_size = max(self._file_size, self.file.size)
        if end > self._file_size:
            raise ImageError(
                f"{self.file.name}: block {block} lies outside the file (see 'vhd check')"
            )
        for low, high in self._claimed:
            if start < high and low < end:
                raise ImageError(
                    f"{self.file.name}: block {block} lies in the image's headers (see 'vhd check')"
                )
        return start + self.bitmap_size

    def bitmap(self, block: int, sector: int) -> int:
        """The sectors of a block that are there."""
        return self.stored_bitmap(sector)

    def stored_bitmap(self, sector: int) -> int:
        """The bitmap in the file at ``sector``."""
        data = self.file.read(sector * SECTOR_SIZE, self.bitmap_size)
        return bitmap.unpack(data) & self.full
