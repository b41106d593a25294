"""The dynamic disk header: where the block allocation table is, and who the parent is.

Defined by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0. All numbers are
big-endian.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd.footer import LARGEST_DISK, checksum, with_checksum

SIZE = 1024
DEFAULT_BLOCK_SIZE = 2 << 20
LOCATORS = 8

_COOKIE = b"cxsparse"
_HEADER = struct.Struct(">8sQQIIII16sI4x512s")
_LOCATOR = struct.Struct(">4sII4xQ")
_LOCATORS_AT = 576
_CHECKSUM_AT = 36
_NO_DATA = 0xFFFFFFFFFFFFFFFF
_VERSION = 0x00010000
MOST_ENTRIES = LARGEST_DISK // (32 << 10)
_SMALLEST_BLOCK = 4 << 10
_LARGEST_BLOCK = 256 << 20


class Locator(NamedTuple):
    """A place in the file that holds a path of the parent, in the notation of a platform."""

    code: bytes
    """``W2ru``, ``W2ku`` or ``MacX``; four zeroes for none."""
    space: int
    """What is kept for the path, in sectors by the specification, in bytes by most programs."""
    length: int
    """Bytes of the path."""
    offset: int
    """Where it is in the file, in bytes."""

    @property
    def reserved(self) -> int:
        """The bytes that are kept for the path, whichever way ``space`` is to be read."""
        space = self.space * SECTOR_SIZE if self.space < SECTOR_SIZE else self.space
        return max(space, self.length)


NO_PARENT = uuid.UUID(int=0)
NO_LOCATOR = Locator(bytes(4), 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Header:
    """A dynamic disk header as values; the last three are those of differencing disks."""

    table_offset: int
    """Where the block allocation table is, in bytes."""
    entries: int
    """Of the table: how many blocks the disk can have."""
    block_size: int
    """Bytes of data in a block, a power of two."""
    parent_id: uuid.UUID = NO_PARENT
    """The parent's footer's; zero where the parent is a raw image."""
    parent_timestamp: int = 0
    """When the parent was last modified when this image was made; 0 for unknown."""
    parent_name: str = ""
    locators: tuple[Locator, ...] = ()

    @property
    def bitmap_size(self) -> int:
        """Bytes before a block's data that say which of its sectors are there."""
        return -(-self.block_size // (SECTOR_SIZE * 8 * SECTOR_SIZE)) * SECTOR_SIZE

    @property
    def table_size(self) -> int:
        """Bytes of the table with its padding to whole sectors."""
        return -(-self.entries * 4 // SECTOR_SIZE) * SECTOR_SIZE

    def pack(self) -> bytes:
        """The 1024 bytes."""
        locators = [*self.locators, *[NO_LOCATOR] * LOCATORS][:LOCATORS]
        name = self.parent_name.encode("utf-16-be", "surrogatepass")[:512]
        data = _HEADER.pack(
            _COOKIE, _NO_DATA, self.table_offset, _VERSION, self.entries, self.block_size, 0,
            self.parent_id.bytes, self.parent_timestamp, name,
        )  # fmt: skip
        data += b"".join(_LOCATOR.pack(*locator) for locator in locators)
        return with_checksum(data.ljust(SIZE, b"\0"), _CHECKSUM_AT)


def is_block_size(size: int) -> bool:
    """Whether blocks can have this many bytes."""
    return not size & (size - 1) and _SMALLEST_BLOCK <= size <= _LARGEST_BLOCK


def parse(data: bytes) -> Header:
    """The header in 1024 bytes; ValueError says what is wrong with it."""
    if len(data) < SIZE:
        raise ValueError("it is cut")
    cookie, _, table_offset, version, entries, block_size, stored, parent_id, stamp, name = (
        _HEADER.unpack_from(data)
    )
    if cookie != _COOKIE:
        raise ValueError("it does not begin with 'cxsparse'")
    if stored != checksum(data, _CHECKSUM_AT):
        raise ValueError("its checksum is wrong")
    if version >> 16 != _VERSION >> 16:
        raise ValueError(f"its version is {version >> 16}.{version & 0xFFFF}")
    if not is_block_size(block_size):
        raise ValueError(
            f"its block size is {block_size}, no power of two between 4 KiB and 256 MiB"
        )
    if entries > MOST_ENTRIES or (entries - 1) * block_size >= LARGEST_DISK:
        raise ValueError(f"its table of {entries} blocks is too large")
    if table_offset % SECTOR_SIZE:
        raise ValueError("its table does not begin with a sector")
    locators = tuple(
        Locator._make(fields)
        for fields in _LOCATOR.iter_unpack(
            data[_LOCATORS_AT : _LOCATORS_AT + LOCATORS * _LOCATOR.size]
        )
    )
    return Header(
        table_offset, entries, block_size, uuid.UUID(bytes=parent_id), stamp,
        name.decode("utf-16-be", "replace").partition("\0")[0],
        locators,
    )  # fmt: skip
