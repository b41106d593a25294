"""A dynamic or differencing VHD as the layer of a chain that is written.

Data goes to the file at once. Bitmaps and table entries stay in memory until all data that they
speak of is on the disk; so whatever happens, a sector holds what was written or what was there.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock

from xenolith.storage import fallocate
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import bitmap, footer
from xenolith.storage.vhd.allocation_table import UNUSED
from xenolith.storage.vhd.footer import DiskType
from xenolith.storage.vhd.metadata import Metadata, end_of_contents
from xenolith.storage.vhd.sparse_layer import SparseLayer

_PAGE = 4096
"""Data is put where it fills whole pages of the page cache."""

_LAST_SECTOR = 0xFFFFFFFE

_MOST_CLEAN = 1 << 14
"""Partial bitmaps to keep that are in the file as well."""
_MOST_DIRTY = 1 << 14
"""Blocks that may be known in memory only; a limit on memory, and on what a crash can lose."""


class WritableLayer(SparseLayer):
    """The sparse file to which a chain's writes go. It may be used by several threads."""

    def __init__(self, file: ImageFile, metadata: Metadata) -> None:
        super().__init__(file, metadata)
        self._lock = Lock()
        self._flushing = Lock()
        self._fresh = self.full if metadata.footer.disk_type is DiskType.DYNAMIC else 0
        self._full: set[int] = set()
        self._partial: dict[int, int] = {}
        self._dirty: set[int] = set()
        """Blocks whose bitmap differs from that in the file."""
        self._new: set[int] = set()
        """Blocks that the table in the file lacks."""
        self._footer = metadata.footer.pack()
        self._check_table()
        if not metadata.at_end:
            self._restore_footer()

    def _check_table(self) -> None:
        """Refuse to extend a file into which damaged entries of its table would then point."""
        last = max((sector for _, sector in self.table.allocated()), default=0)
        self._blocks_end = last * SECTOR_SIZE + self.bitmap_size + self.block_size if last else 0
        if self._blocks_end > self._file_size:
            raise ImageError(
                f"{self.file.name} is cut, or its table points outside the file; it can be read "
                "only (see 'vhd check' and 'vhd repair')"
            )

    def _restore_footer(self) -> None:
        end = end_of_contents(self.file, self._claimed, self._blocks_end)
        end = max(end, -(-self._file_size // SECTOR_SIZE) * SECTOR_SIZE)
        # Where the disk is full, the next block that is allocated brings one along.
        with suppress(OSError):
            self.file.write(self._footer, end)
        self._file_size = self.file.size

    def has_nothing(self, start: int, end: int) -> bool:
        """False: it may have something soon."""
        return False

    def place_of(self, block: int) -> int | None:
        """Where in the file the data of a block is; None if it has no place."""
        sector = self.table[block]
        return None if sector == UNUSED else self.data_offset(block, sector)

    def allocate(self, block: int) -> int:
        """Give a block a place, unless it has one; return where its data is."""
        with self._lock:
            place = self.place_of(block)
            if place is not None:
                return place
            # The footer stays where it is: it falls between this block and the one before.
            data = -(-(self._file_size + self.bitmap_size) // _PAGE) * _PAGE
            sector = (data - self.bitmap_size) // SECTOR_SIZE
            if sector > _LAST_SECTOR:
                raise ImageError(f"{self.file.name} has become too large for its table")
            self.file.write(self._footer, data + self.block_size)
            self._file_size = data + self.block_size + footer.SIZE
            self._remember(block, self._fresh)
            self._dirty.add(block)
            self._new.add(block)
            self.table[block] = sector
            return data

    def mark(self, block: int, first: int, end: int) -> bool:
        """Note that sectors of a block have been written; return whether any had been missing."""
        if block in self._full:
            return False
        with self._lock:
            before = self._bitmap(block, self.table[block])
            after = before | bitmap.mask(first, end)
            if after == before:
                return False
            self._remember(block, after)
            self._dirty.add(block)
            return True

    def bitmap(self, block: int, sector: int) -> int:
        """The sectors of a block that are there, flushed or not."""
        if block in self._full:
            return self.full
        with self._lock:
            return self._bitmap(block, sector)

    def _bitmap(self, block: int, sector: int) -> int:
        if block in self._full:
            return self.full
        sectors = self._partial.get(block)
        if sectors is None:
            sectors = self.stored_bitmap(sector)
            if len(self._partial) > _MOST_CLEAN + len(self._dirty):
                kept = self._dirty & self._partial.keys()
                self._partial = {dirty: self._partial[dirty] for dirty in kept}
            self._remember(block, sectors)
        return sectors

    def _remember(self, block: int, sectors: int) -> None:
        if sectors == self.full:
            self._full.add(block)
            self._partial.pop(block, None)
        else:
            self._partial[block] = sectors

    @property
    def must_flush(self) -> bool:
        """Whether so much is known in memory only that it should be written soon."""
        return len(self._dirty) > _MOST_DIRTY

    def flush(self) -> None:
        """Put all that was written before on the disk: data first, then what refers to it."""
        with self._flushing:
            with self._lock:
                bitmaps = {block: self._bitmap(block, self.table[block]) for block in self._dirty}
                new = self._new
                self._dirty, self._new = set(), set()
            try:
                self.file.sync()
                if bitmaps or new:
                    self._write_back(bitmaps, new)
            except BaseException:
                with self._lock:
                    self._dirty |= bitmaps.keys()
                    self._new |= new
                raise

    def _write_back(self, bitmaps: dict[int, int], new: set[int]) -> None:
        for block, sectors in bitmaps.items():
            offset = self.table[block] * SECTOR_SIZE
            self.file.write(bitmap.pack(sectors, self.bitmap_size), offset)
        self.table.store(new)
        self.file.sync()

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that the file lacks."""
        return bool(self._dirty or self._new)

    def punch(self, offset: int, length: int) -> None:
        """Have a range of the file within a block read as zeroes."""
        fallocate.make_zero(self.file, offset, length)
