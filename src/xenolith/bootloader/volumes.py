"""The file systems of a disk by the names that GRUB has for them, and files on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from xenolith.bootloader.disk import Disk, DiskStream
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.file_system import FileSystem
from xenolith.bootloader.partitions import partitions
from xenolith.bootloader.probe import open_file_system

_DEVICE = re.compile(r"(?:[^,]*,)?(?:msdos|gpt)?(\d+)")
"""``hd0,msdos1``, ``hd0,1``, ``xen/xvda,gpt2``, ``,1``: there is one disk, whatever its name is."""
_PATH = re.compile(r"\(([^)]*)\)(.*)", re.DOTALL)


class Volume(NamedTuple):
    """A partition with a file system, or a whole disk with one."""

    name: str
    """``hd0,msdos1``, or ``hd0`` for the whole disk."""
    number: int | None
    """Of the partition."""
    files: FileSystem


class FileRef(NamedTuple):
    """A file on a volume; it need not exist."""

    volume: Volume
    path: str

    def __str__(self) -> str:
        return f"({self.volume.name}){self.path}"


class Volumes:
    """What can be read of a disk."""

    def __init__(self, volumes: list[Volume]) -> None:
        self._volumes = volumes

    def __iter__(self) -> Iterator[Volume]:
        return iter(self._volumes)

    def __len__(self) -> int:
        return len(self._volumes)

    def device(self, name: str) -> Volume | None:
        """The volume that GRUB calls so."""
        match = _DEVICE.fullmatch(name)
        number = int(match[1]) if match and not name.isalnum() else None
        return next((volume for volume in self if volume.number == number), None)

    def by_uuid(self, uuid: str) -> Volume | None:
        """The volume with a file system's UUID."""
        return next((volume for volume in self if volume.files.uuid == uuid.lower()), None)

    def by_label(self, label: str) -> Volume | None:
        """The volume with a file system's label."""
        return next((volume for volume in self if volume.files.label == label), None)

    def by_file(self, path: str) -> Volume | None:
        """The first volume that has a file."""
        return next((volume for volume in self if volume.files.is_file(path)), None)

    def file(self, path: str, root: str, home: Volume) -> FileRef:
        """The file of a path such as ``(hd0,1)/vmlinuz`` or, on the device ``root``, ``/vmlinuz``.

        Where that device is none of this disk, or has no such file, ``home`` is to have it.
        """
        match = _PATH.fullmatch(path)
        device, path = (match[1], match[2]) if match else (root, path)
        volume = self.device(device) or home
        if volume is not home and not volume.files.is_file(path) and home.files.is_file(path):
            volume = home
        return FileRef(volume, path)


def open_volumes(disk: Disk, offset: int | None = None, number: int | None = None) -> Volumes:
    """The file systems of a disk, those of active partitions first; BootError if there is none.

    ``offset`` is where the only one begins, in bytes; ``number`` that of the only partition to look at.
    """
    if offset is not None:
        candidates: list[tuple[str, int | None, int, int]] = [("hd0", None, offset, disk.size)]
    else:
        candidates = [("hd0", None, 0, disk.size)]
        for part in sorted(partitions(disk), key=lambda part: not part.active):
            name = f"hd0,{part.scheme}{part.number}"
            candidates.append((name, part.number, part.start, part.size))
    if number is not None:
        candidates = [candidate for candidate in candidates if candidate[1] == number]
    found, problems = list[Volume](), list[str]()
    for name, part_number, start, size in candidates:
        try:
            files = open_file_system(DiskStream(disk, start, size))
        except BootError as error:
            problems.append(f"({name}): {error}")
            continue
        if files is not None:
            found.append(Volume(name, part_number, files))
    if not found:
        raise BootError("; ".join(problems) or "the disk has no file system that pygrub reads")
    return Volumes(found)
