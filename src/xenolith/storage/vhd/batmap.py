"""The batmap of blktap2's images: a bit for each block that is full, after the allocation table.

It only saves reading bitmaps, so ours stay empty; vhd-util(1) expects one in every image of its
own kind (tools/blktap2/include/vhd.h of Xen 4.0).
"""

from __future__ import annotations

import struct

from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd.footer import Footer
from xenolith.storage.vhd.header import Header

_COOKIE = b"tdbatmap"
_VERSION = 0x00010002
_HEADER = struct.Struct(">8sQIII")


def offset_of(head: Header) -> int:
    """Where the batmap's header is: in the sector after the table."""
    return head.table_offset + head.table_size


def size_of(entries: int) -> int:
    """Bytes of a batmap with its header, for a table of that many entries."""
    return SECTOR_SIZE + _map_size(entries)


def empty(head: Header) -> bytes:
    """A batmap that knows of no full block, header first."""
    size = _map_size(head.entries)
    fields = _HEADER.pack(
        _COOKIE, offset_of(head) + SECTOR_SIZE, size // SECTOR_SIZE, _VERSION, 0xFFFFFFFF
    )
    return fields.ljust(SECTOR_SIZE + size, b"\0")


def is_there(file: ImageFile, foot: Footer, head: Header) -> bool:
    """Whether an image has a batmap."""
    return foot.creator.startswith(b"tap") and file.read(offset_of(head), 8) == _COOKIE


def regions(file: ImageFile, foot: Footer, head: Header) -> list[tuple[int, int]]:
    """The parts of the file that the batmap takes, if there is one."""
    if not is_there(file, foot, head):
        return []
    at = offset_of(head)
    _, start, sectors, _, _ = _HEADER.unpack(file.read(at, _HEADER.size).ljust(_HEADER.size, b"\0"))
    return [(at, at + SECTOR_SIZE), (start, start + sectors * SECTOR_SIZE)]


def read(file: ImageFile, foot: Footer, head: Header) -> bytes:
    """The map of an image; empty where there is none."""
    if not is_there(file, foot, head):
        return b""
    at = offset_of(head)
    _, start, sectors, _, _ = _HEADER.unpack(file.read(at, _HEADER.size).ljust(_HEADER.size, b"\0"))
    return file.read(start, min(sectors * SECTOR_SIZE, _map_size(head.entries)))


def has_full(full: bytes, block: int) -> bool:
    """Whether a map has a block as full."""
    return block >> 3 < len(full) and bool(full[block >> 3] & 0x80 >> (block & 7))


def _map_size(entries: int) -> int:
    return -(-entries // (8 * SECTOR_SIZE)) * SECTOR_SIZE
