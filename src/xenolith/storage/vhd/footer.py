"""The hard disk footer: the last sector of every VHD, and the first one too unless it is fixed.

Defined by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; the byte ``hidden`` is
blktap2's. All numbers are big-endian.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, replace
from enum import IntEnum

from xenolith.storage.errors import ImageError
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import timestamp
from xenolith.storage.vhd.geometry import LARGEST, Geometry, geometry_of

SIZE = 512
COOKIE = b"conectix"
POISON = b"v_poison"
"""In blktap2's images instead of the cookie: this image must not be used any more."""

NO_DATA = 0xFFFFFFFFFFFFFFFF
"""``data_offset`` of a fixed disk."""

LARGEST_DISK = 2040 << 30

_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sBB426x")
_CHECKSUM = struct.Struct(">I")
_CHECKSUM_AT = 64

_RESERVED_FEATURE = 2
_VERSION = 0x00010000
_CREATOR = b"tap\0"
_CREATOR_VERSION = 0x00010003

_SIZE_IN_FOOTER = (b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0")
"""Creators whose disks have the size that the footer says; that of all others is their geometry."""


class DiskType(IntEnum):
    """How the disk is stored."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer as values."""

    data_offset: int
    """Where the dynamic disk header is, in bytes."""
    timestamp: int
    creator: bytes
    creator_version: int
    creator_os: bytes
    original_size: int
    current_size: int
    geometry: Geometry
    disk_type: DiskType
    unique_id: uuid.UUID
    saved_state: int = 0
    hidden: int = 0
    features: int = _RESERVED_FEATURE
    version: int = _VERSION

    @property
    def size(self) -> int:
        """Length of the virtual disk in bytes, by the convention of the program that made it."""
        if self.creator in _SIZE_IN_FOOTER or self.geometry == LARGEST:
            return self.current_size // SECTOR_SIZE * SECTOR_SIZE
        return self.geometry.size

    def resized(self, size: int) -> Footer:
        """The footer of the same disk with another size."""
        creator = self.creator if self.creator in _SIZE_IN_FOOTER else _CREATOR
        return replace(self, creator=creator, current_size=size, geometry=geometry_of(size))

    def pack(self) -> bytes:
        """The sector."""
        sector = _FOOTER.pack(
            COOKIE, self.features, self.version, self.data_offset, self.timestamp, self.creator,
            self.creator_version, self.creator_os, self.original_size, self.current_size,
            *self.geometry, self.disk_type, 0, self.unique_id.bytes, self.saved_state, self.hidden,
        )  # fmt: skip
        return with_checksum(sector, _CHECKSUM_AT)


def new_footer(size: int, disk_type: DiskType) -> Footer:
    """The footer of a new disk, as blktap2 would write it; ImageError if the size cannot be."""
    check_size(size)
    return Footer(
        data_offset=NO_DATA if disk_type is DiskType.FIXED else SIZE,
        timestamp=timestamp.now(),
        creator=_CREATOR,
        creator_version=_CREATOR_VERSION,
        creator_os=bytes(4),
        original_size=size,
        current_size=size,
        geometry=geometry_of(size),
        disk_type=disk_type,
        unique_id=uuid.uuid4(),
    )


def check_size(size: int) -> None:
    """ImageError unless a VHD can have this size."""
    if not 0 < size <= LARGEST_DISK or size % SECTOR_SIZE:
        raise ImageError(
            f"a VHD cannot have {size} bytes: it has whole sectors of 512 bytes, and at most 2040 GiB"
        )


def parse(sector: bytes) -> Footer:
    """The footer in a sector; ValueError says what is wrong with it."""
    if len(sector) < SIZE:
        raise ValueError("it is cut")
    cookie, features, version, data_offset, stamp, creator, creator_version, creator_os, original, \
        current, cylinders, heads, sectors, disk_type, stored, unique_id, saved, hidden = (
            _FOOTER.unpack(sector)
        )  # fmt: skip
    if cookie == POISON:
        raise ValueError("the image has been disabled by the program that last changed it")
    if cookie != COOKIE:
        raise ValueError("it does not begin with 'conectix'")
    if stored != checksum(sector, _CHECKSUM_AT) and not _early_tapdisk(sector, stored):
        raise ValueError("its checksum is wrong")
    if version >> 16 != _VERSION >> 16:
        raise ValueError(f"its version is {version >> 16}.{version & 0xFFFF}")
    if disk_type not in list(DiskType):
        raise ValueError(f"its disk type is {disk_type}")
    return Footer(
        data_offset, stamp, creator, creator_version, creator_os, original, current,
        Geometry(cylinders, heads, sectors), DiskType(disk_type), uuid.UUID(bytes=unique_id),
        saved, hidden, features, version,
    )  # fmt: skip


def _early_tapdisk(sector: bytes, stored: int) -> bool:
    """Whether this is an image that the first blktap2 hid without a new checksum."""
    *_, hidden = _FOOTER.unpack(sector)
    creator, version = sector[28:31], int.from_bytes(sector[32:36], "big")
    if not hidden or creator != b"tap" or version not in (0x00000001, 0x00010001):
        return False
    return stored == checksum(sector[:85] + b"\0" + sector[86:], _CHECKSUM_AT)


def checksum(data: bytes, at: int) -> int:
    """The complement of the sum of all bytes but the checksum itself, which is at ``at``."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def with_checksum(data: bytes, at: int) -> bytes:
    """The same with its checksum in place."""
    return data[:at] + _CHECKSUM.pack(checksum(data, at)) + data[at + 4 :]
