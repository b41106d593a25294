"""Recognises a file system by its magic number and has the right library open it."""

from __future__ import annotations

from xenolith.bootloader.disk import DiskStream
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.file_system import FileSystem
from xenolith.bootloader.iso9660 import open_iso
from xenolith.bootloader.linux_file_systems import open_btrfs, open_ext, open_fat, open_xfs

_MAGIC = (
    (0, b"XFSB", open_xfs, "XFS"),
    (0x438, b"\x53\xef", open_ext, "ext"),
    (0x10040, b"_BHRfS_M", open_btrfs, "btrfs"),
    (0x8001, b"CD001", open_iso, "ISO 9660"),
    (0x36, b"FAT", open_fat, "FAT"),
    (0x52, b"FAT32", open_fat, "FAT"),
)


def open_file_system(stream: DiskStream) -> FileSystem | None:
    """The file system in a part of a disk; None if it is none that we know. BootError: damaged."""
    for offset, magic, open_it, name in _MAGIC:
        stream.seek(offset)
        if stream.read(len(magic)) != magic:
            continue
        stream.seek(0)
        try:
            return open_it(stream)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise BootError(f"the {name} file system is damaged ({what})") from error
    return None
