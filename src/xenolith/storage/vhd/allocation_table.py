"""The block allocation table (BAT): for each block of the disk, where in the file it is.

It is read from the file page by page, as it is needed, so that opening an image takes no longer
for a large disk. Defined by Microsoft's VHD specification 1.0.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile

UNUSED = 0xFFFFFFFF

_ENTRY = struct.Struct(">I")
_PAGE_SHIFT = 12
_PAGE = 1 << _PAGE_SHIFT
"""Entries that are read at once: 16 KiB."""
_UNUSED_PAGE = array("I", [UNUSED]) * _PAGE

_SCAN = 1 << 18
"""Entries that are read at once when all are wanted."""
_ALL_UNUSED = b"\xff" * (4 * _SCAN)


class AllocationTable:
    """The table of one file. Its changes stay in memory until :meth:`store`."""

    def __init__(self, file: ImageFile, offset: int, entries: int) -> None:
        self.offset = offset
        self.entries = entries
        self._file = file
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, block: int) -> int:
        """The sector in the file at which a block begins, or UNUSED."""
        page = self._pages.get(block >> _PAGE_SHIFT)
        if page is None:
            page = self._load(block >> _PAGE_SHIFT)
        return page[block & (_PAGE - 1)]

    def are_unused(self, first: int, end: int) -> bool:
        """Whether no block from ``first`` up to ``end`` has a place."""
        while first < end:
            _ = self[first]
            page = self._pages[first >> _PAGE_SHIFT]
            stop = min(end, ((first >> _PAGE_SHIFT) + 1) << _PAGE_SHIFT)
            within = first & (_PAGE - 1)
            if page[within : within + stop - first] != _UNUSED_PAGE[: stop - first]:
                return False
            first = stop
        return True

    def __setitem__(self, block: int, sector: int) -> None:
        _ = self[block]
        self._pages[block >> _PAGE_SHIFT][block & (_PAGE - 1)] = sector

    def store(self, blocks: Iterable[int]) -> None:
        """Write the entries of these blocks to the file, neighbours together."""
        for first, end in _neighbours(sorted(blocks)):
            data = b"".join(_ENTRY.pack(self[block]) for block in range(first, end))
            self._file.write(data, self.offset + first * _ENTRY.size)

    def allocated(self) -> Iterator[tuple[int, int]]:
        """Every block that has a place, with its sector, as the file has them."""
        for first in range(0, self.entries, _SCAN):
            data = self._read(first, min(_SCAN, self.entries - first))
            if data == _ALL_UNUSED or data == _ALL_UNUSED[: len(data)]:
                continue
            for index, sector in enumerate(_decode(data)):
                if sector != UNUSED:
                    yield first + index, sector

    def _load(self, page: int) -> array[int]:
        first = page << _PAGE_SHIFT
        entries = _decode(self._read(first, min(_PAGE, self.entries - first)))
        return self._pages.setdefault(page, entries)

    def _read(self, first: int, count: int) -> bytes:
        data = self._file.read(self.offset + first * _ENTRY.size, count * _ENTRY.size)
        if len(data) < count * _ENTRY.size:
            raise ImageError(f"{self._file.name} is cut within its block allocation table")
        return data


def _decode(data: bytes) -> array[int]:
    entries = array("I", data)
    if sys.byteorder == "little":
        entries.byteswap()
    return entries


def _neighbours(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers in an ascending sequence."""
    first = end = -1
    for block in blocks:
        if block != end:
            if first >= 0:
                yield first, end
            first = block
        end = block + 1
    if first >= 0:
        yield first, end
