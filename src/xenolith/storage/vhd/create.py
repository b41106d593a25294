"""New VHDs, written into a file that is empty as yet."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import batmap, footer, header, locator, timestamp
from xenolith.storage.vhd.footer import DiskType, new_footer
from xenolith.storage.vhd.header import DEFAULT_BLOCK_SIZE, NO_PARENT, Header, Locator
from xenolith.storage.vhd.metadata import read_metadata

_TABLE_AT = footer.SIZE + header.SIZE


@dataclass(frozen=True, slots=True)
class Parent:
    """What a differencing image says of its parent."""

    path: str
    """Absolute, without symbolic links."""
    size: int
    """Length of its disk in bytes."""
    unique_id: uuid.UUID
    """Zero for a raw image."""
    timestamp: int
    """Of its last modification."""


def vhd_parent(file: ImageFile) -> Parent:
    """An open VHD as a parent."""
    foot = read_metadata(file).footer
    path = os.path.realpath(file.name)
    return Parent(path, foot.size, foot.unique_id, timestamp.modification_time(file))


def raw_parent(file: ImageFile) -> Parent:
    """An open raw image as a parent; it cannot be larger than a VHD."""
    size = -(-file.size // SECTOR_SIZE) * SECTOR_SIZE
    return Parent(os.path.realpath(file.name), size, NO_PARENT, timestamp.modification_time(file))


def write_fixed(file: ImageFile, size: int) -> None:
    """Make a fixed VHD; its data is a hole in the file."""
    file.write(new_footer(size, DiskType.FIXED).pack(), size)


def write_dynamic(file: ImageFile, size: int, block_size: int = DEFAULT_BLOCK_SIZE) -> None:
    """Make a dynamic VHD, with nothing allocated."""
    _write_sparse(
        file, size, DiskType.DYNAMIC, Header(_TABLE_AT, _blocks(size, block_size), block_size)
    )


def write_differencing(
    file: ImageFile, parent: Parent, block_size: int = DEFAULT_BLOCK_SIZE
) -> None:
    """Make a child of a parent, as large as that, with nothing allocated.

    The file's name is where it is, or will be: paths are relative to it.
    """
    head = Header(
        _TABLE_AT, _blocks(parent.size, block_size), block_size,
        parent.unique_id, parent.timestamp, os.path.basename(parent.path),
    )  # fmt: skip
    after_batmap = head.table_offset + head.table_size + batmap.size_of(head.entries)
    locators = place_locators(file, parent.path, after_batmap)
    _write_sparse(file, parent.size, DiskType.DIFFERENCING, replace(head, locators=locators))


def place_locators(file: ImageFile, parent: str, offset: int) -> tuple[Locator, ...]:
    """Write the paths of a parent into a file from ``offset``; return the locators for them."""
    child = os.path.join(os.path.realpath(os.path.dirname(file.name)), os.path.basename(file.name))
    locators = []
    for code, path in locator.encode(parent, child).items():
        if len(path) > locator.LONGEST:
            raise ImageError(f"the path {parent} is too long for a VHD")
        space = -(-len(path) // SECTOR_SIZE) * SECTOR_SIZE
        file.write(path.ljust(space, b"\0"), offset)
        locators.append(Locator(code, space, len(path), offset))
        offset += space
    return tuple(locators)


def _blocks(size: int, block_size: int) -> int:
    footer.check_size(size)
    if not header.is_block_size(block_size) or size > header.MOST_ENTRIES * block_size:
        raise ImageError(
            f"blocks cannot have {block_size} bytes: that must be a power of two up to 256 MiB, and "
            "at least 4 KiB, or 32 KiB for the largest disks"
        )
    return -(-size // block_size)


def _write_sparse(file: ImageFile, size: int, disk_type: DiskType, head: Header) -> None:
    foot = new_footer(size, disk_type).pack()
    table = b"\xff" * head.table_size
    file.write(head.pack() + table + batmap.empty(head), footer.SIZE)
    file.write(foot, file.size)
    file.write(foot, 0)
