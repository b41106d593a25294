"""Footer and header of an open VHD, and which parts of the file they lay claim to."""

from __future__ import annotations

from dataclasses import dataclass

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import batmap, footer, header
from xenolith.storage.vhd.footer import DiskType, Footer
from xenolith.storage.vhd.header import Header

_NEEDED = 3
"""The first of the regions are those without which there is no image: footer, header, table."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a VHD says of itself; a fixed one has no header."""

    footer: Footer
    header: Header | None
    at_end: bool
    """Whether the file ends with a sound footer; that of a sparse image can be lost in a crash."""

    @property
    def size(self) -> int:
        """Length of the virtual disk in bytes."""
        return self.footer.size

    @property
    def is_differencing(self) -> bool:
        """Whether there is a parent."""
        return self.footer.disk_type is DiskType.DIFFERENCING


def read_metadata(file: ImageFile) -> Metadata:
    """Read and check footer and header; ImageError says what is wrong with them."""
    length = file.size
    foot, at_end = _read_footer(file, length)
    if foot.disk_type is DiskType.FIXED:
        if foot.size > length - footer.SIZE:
            raise ImageError(f"{file.name} is cut: its disk is larger than the file")
        footer.check_size(foot.size)
        return Metadata(foot, None, at_end)
    if foot.size > footer.LARGEST_DISK:
        raise ImageError(f"{file.name} has a disk of {foot.size} bytes; a VHD has at most 2040 GiB")
    if foot.creator.startswith(b"tap") and foot.creator_version == 1:
        raise ImageError(f"{file.name} was made by tapdisk 0.1, whose bitmaps nobody else reads")
    return Metadata(foot, _read_header(file, length, foot), at_end)


def _read_footer(file: ImageFile, length: int) -> tuple[Footer, bool]:
    """The footer, and whether it is the one at the end.

    That one comes first: a guest can write what looks like the copy into the first sector of a
    fixed disk.
    """
    try:
        return footer.parse(file.read(max(0, length - footer.SIZE), footer.SIZE)), True
    except ValueError as error:
        reason = error
    try:
        copy = footer.parse(file.read(0, footer.SIZE))
    except ValueError:
        raise ImageError(f"{file.name} is no sound VHD: in its footer, {reason}") from None
    if copy.disk_type is DiskType.FIXED:
        raise ImageError(f"{file.name} is no sound VHD: in its footer, {reason}")
    return copy, False


def _read_header(file: ImageFile, length: int, foot: Footer) -> Header:
    try:
        head = header.parse(
            file.read(foot.data_offset, header.SIZE) if foot.data_offset < length else b""
        )
    except ValueError as error:
        raise ImageError(f"{file.name} is no sound VHD: in its header, {error}") from None
    if head.entries * head.block_size < foot.size:
        raise ImageError(
            f"{file.name} is no sound VHD: a table of {head.entries} blocks cannot hold its disk"
        )
    if head.table_offset + head.entries * 4 > length:
        raise ImageError(f"{file.name} is cut within its block allocation table")
    return head


def regions(file: ImageFile, metadata: Metadata) -> list[tuple[int, int]]:
    """The parts of a sparse VHD in which no block may be, as starts and ends in bytes.

    A guest that could write there could make itself a parent of any file.
    """
    head, offset = metadata.header, metadata.footer.data_offset
    assert head is not None
    claimed = [
        (0, footer.SIZE),
        (offset, offset + header.SIZE),
        (head.table_offset, head.table_offset + head.table_size),
    ]
    claimed += [
        (locator.offset, locator.offset + locator.reserved)
        for locator in head.locators
        if locator.code != header.NO_LOCATOR.code
    ]
    claimed += batmap.regions(file, metadata.footer, head)
    return claimed


def end_of_contents(file: ImageFile, claimed: list[tuple[int, int]], last_block_end: int) -> int:
    """Where the file's contents end and its footer belongs."""
    # What a damaged header claims beyond the end is not there.
    there = [end for _, end in claimed[_NEEDED:] if end <= file.size]
    end = max(last_block_end, *(end for _, end in claimed[:_NEEDED]), *there)
    return -(-end // SECTOR_SIZE) * SECTOR_SIZE
