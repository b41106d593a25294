"""The file systems of a disk by the names that GRUB has for them, and files on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xenolith.bootloader.disk import Disk, DiskStream
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.file_system import FileSystem
from xenolith.bootloader.lvm.volumes import PhysicalVolume, logical_volumes, physical_volume
from xenolith.bootloader.partitions import partitions
from xenolith.bootloader.probe import open_file_system

_DEVICE = re.compile(r"(?:[^,]*,)?(?:msdos|gpt)?(\d+)")
"""``hd0,msdos1``, ``hd0,1``, ``xen/xvda,gpt2``, ``,1``: there is one disk, whatever its name is."""
_LVM = ("lvm/", "lvmid/")
_PATH = re.compile(r"\(([^)]*)\)(.*)", re.DOTALL)


class Volume(NamedTuple):
    """A partition with a file system, or a whole disk with one."""

    name: str
    """``hd0,msdos1``, ``hd0`` for the whole disk, or ``lvm/vg-lv``."""
    number: int | None
    """Of the partition."""
    files: FileSystem
    aliases: tuple[str, ...] = ()
    """Other names."""


class FileRef(NamedTuple):
    """A file on a volume; it need not exist."""

    volume: Volume
    path: str

    def __str__(self) -> str:
        return f"({self.volume.name}){self.path}"


class Volumes:
    """What can be read of a disk."""

    def __init__(self, volumes: list[Volume], problems: Sequence[str] = ()) -> None:
        self._volumes = volumes
        self.problems = problems
        """Why there are not more."""

    def __iter__(self) -> Iterator[Volume]:
        return iter(self._volumes)

    def __len__(self) -> int:
        return len(self._volumes)

    def device(self, name: str) -> Volume | None:
        """The volume that GRUB calls so."""
        if name.startswith(_LVM):
            return next((each for each in self if name in (each.name, *each.aliases)), None)
        match = _DEVICE.fullmatch(name)
        number = int(match[1]) if match and not name.isalnum() else None
        return next(
            (
                volume
                for volume in self
                if volume.number == number and not volume.name.startswith(_LVM)
            ),
            None,
        )

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
    found, problems, physical = list[Volume](), list[str](), list[PhysicalVolume]()
    for name, part_number, start, size in candidates:
        stream = DiskStream(disk, start, size)
        try:
            volume = physical_volume(stream)
            files = open_file_system(stream) if volume is None else None
        except BootError as error:
            problems.append(f"({name}): {error}")
            continue
        if volume is not None:
            physical.append(volume)
        elif files is not None:
            found.append(Volume(name, part_number, files))
    logical, unreadable = logical_volumes(physical)
    problems += unreadable
    for each in logical:
        try:
            files = open_file_system(DiskStream(each.content, 0, each.content.size))
        except BootError as error:
            problems.append(f"({each.name}): {error}")
            continue
        if files is not None:
            found.append(Volume(each.name, None, files, each.aliases))
    if not found:
        raise BootError("; ".join(problems) or "the disk has no file system that pygrub reads")
    return Volumes(found, problems)
