"""ext2/3/4, XFS, btrfs and FAT, as the libraries dissect.* read them.

What is where on the disk is the libraries' business; this makes their inodes our nodes.
"""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from typing import Any

from dissect.btrfs.btrfs import Btrfs
from dissect.extfs.extfs import ExtFS
from dissect.fat.fat import FAT, FATFS
from dissect.xfs.xfs import XFS

from xenolith.bootloader.disk import DiskStream
from xenolith.bootloader.file_system import FileSystem, Kind, Stream

# Python loads codecs when they are first used, which the jail forbids; this is that of FAT's names.
codecs.lookup("ibm437")

_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}


def open_ext(stream: DiskStream) -> FileSystem:
    """An ext2, ext3 or ext4."""
    fs = ExtFS(stream)
    return FileSystem(f"ext{fs.type}", str(fs.uuid), fs.volume_name, [_InodeNode(fs.root)])


def open_xfs(stream: DiskStream) -> FileSystem:
    """An XFS."""
    fs = XFS(stream)
    return FileSystem("XFS", str(fs.uuid), fs.name, [_InodeNode(fs.root)])


def open_btrfs(stream: DiskStream) -> FileSystem:
    """A btrfs of one device. GRUB's paths begin at its top, openSUSE's at the default subvolume."""
    fs = Btrfs(stream)
    roots = [_BtrfsNode(fs.fs_tree.root), _BtrfsNode(fs.default_subvolume.root)]
    return FileSystem("btrfs", str(fs.uuid), fs.label, roots)


def open_fat(stream: DiskStream) -> FileSystem:
    """A FAT12, FAT16 or FAT32."""
    fs = FATFS(stream)
    fs.fat = _FiniteFat(fs.fat.fh, fs.type)
    serial = fs.volume_id.zfill(8)
    return FileSystem("FAT", f"{serial[:4]}-{serial[4:]}", fs.volume_label, [_FatNode(fs.root)])


class _FiniteFat(FAT):  # type: ignore[misc]
    """A file allocation table that does not follow clusters in a circle for ever."""

    def chain(self, cluster: int) -> Iterator[int]:
        for number, following in enumerate(super().chain(cluster)):
            if number > self.entry_count:
                raise ValueError("the clusters of a file go in a circle")
            yield following


class _InodeNode:
    """An inode of ext or XFS."""

    def __init__(self, inode: Any) -> None:
        self._inode = inode

    @property
    def kind(self) -> Kind:
        return _KINDS.get(self._inode.filetype, Kind.OTHER)

    @property
    def size(self) -> int:
        return int(self._inode.size)

    def lookup(self, name: str) -> _InodeNode | None:
        for entry in self._inode.iterdir():
            if entry.filename == name:
                return _InodeNode(entry)
        return None

    def names(self) -> Iterator[str]:
        return (entry.filename for entry in self._inode.iterdir())

    def target(self) -> str:
        return str(self._inode.link)

    def open(self) -> Stream:
        stream: Stream = self._inode.open()
        return stream


class _BtrfsNode:
    """An inode of btrfs."""

    def __init__(self, inode: Any) -> None:
        self._inode = inode

    @property
    def kind(self) -> Kind:
        return _KINDS.get(self._inode.type, Kind.OTHER)

    @property
    def size(self) -> int:
        return int(self._inode.size)

    def lookup(self, name: str) -> _BtrfsNode | None:
        for found, inode in self._inode.iterdir():
            if found == name:
                return _BtrfsNode(inode)
        return None

    def names(self) -> Iterator[str]:
        return (name for name, _ in self._inode.iterdir())

    def target(self) -> str:
        return str(self._inode.link)

    def open(self) -> Stream:
        stream: Stream = self._inode.open()
        return stream


class _FatNode:
    """An entry of a FAT's directory, whose names know no case."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    @property
    def kind(self) -> Kind:
        return Kind.DIRECTORY if self._entry.is_directory() else Kind.FILE

    @property
    def size(self) -> int:
        return int(self._entry.size)

    def lookup(self, name: str) -> _FatNode | None:
        wanted = name.upper()
        for entry in self._entries():
            if wanted in (entry.name.upper(), entry.short_name.upper()):
                return _FatNode(entry)
        return None

    def names(self) -> Iterator[str]:
        return (entry.name for entry in self._entries())

    def target(self) -> str:
        raise ValueError("FAT has no symbolic links")

    def open(self) -> Stream:
        stream: Stream = self._entry.open()
        return stream

    def _entries(self) -> Iterator[Any]:
        return (entry for entry in self._entry.iterdir() if not entry.is_volume_id())
