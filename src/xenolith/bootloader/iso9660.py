"""ISO 9660 with Rock Ridge or Joliet, as the library pycdlib reads it."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from pycdlib import PyCdlib
from pycdlib.pycdlibio import PyCdlibIO

from xenolith.bootloader.disk import DiskStream
from xenolith.bootloader.file_system import FileSystem, Kind, Stream

_BLOCK_SIZE = 2048

# What pycdlib uses and Python loads only then, which the jail forbids.
codecs.lookup("utf-16-be")
time.strptime("2000", "%Y")


def open_iso(stream: DiskStream) -> FileSystem:
    """An ISO 9660 file system, with the best names that it has."""
    iso = PyCdlib()
    iso.open_fp(cast(BinaryIO, stream))
    volume = iso.pvd
    label = volume.volume_identifier.decode(errors="replace").strip()
    root: _IsoNode
    if iso.has_rock_ridge():
        root = _RockRidgeNode(iso, iso.get_record(rr_path="/"))
    elif iso.has_joliet():
        root = _JolietNode(iso, iso.get_record(joliet_path="/"))
    else:
        root = _IsoNode(iso, iso.get_record(iso_path="/"))
    return FileSystem("ISO 9660", _uuid(volume), label, [root])


def _uuid(volume: Any) -> str:
    """The time at which the volume was made, as blkid(8) shows it."""
    made = volume.volume_creation_date
    parts = (made.month, made.dayofmonth, made.hour, made.minute, made.second)
    numbers = "-".join(f"{part:02}" for part in parts)
    return f"{made.year}-{numbers}-{made.hundredthsofsecond:02}"


class _IsoNode:
    """A directory record; its plain name is in capitals, and has a version."""

    def __init__(self, iso: PyCdlib, record: Any) -> None:
        self._iso = iso
        self._record = record

    @property
    def kind(self) -> Kind:
        return Kind.DIRECTORY if self._record.is_dir() else Kind.FILE

    @property
    def size(self) -> int:
        return int(self._record.get_data_length())

    def lookup(self, name: str) -> _IsoNode | None:
        wanted = self._folded(name)
        for child, found in self._children():
            if self._folded(found) == wanted:
                return type(self)(self._iso, child)
        return None

    def names(self) -> Iterator[str]:
        return (name for _, name in self._children())

    def target(self) -> str:
        raise ValueError("no symbolic link")

    def open(self) -> Stream:
        contents: Any = PyCdlibIO(self._record.inode, _BLOCK_SIZE)
        stream: Stream = contents.__enter__()
        return stream

    def _children(self) -> Iterator[tuple[Any, str]]:
        for child in self._record.children:
            if not (child.is_dot() or child.is_dotdot()):
                yield child, self._name(child)

    def _name(self, record: Any) -> str:
        name: str = record.file_identifier().decode(errors="replace")
        return name.partition(";")[0].removesuffix(".")

    def _folded(self, name: str) -> str:
        return name.lower()


class _JolietNode(_IsoNode):
    def _name(self, record: Any) -> str:
        name: str = record.file_identifier().decode("utf-16-be", errors="replace")
        return name.partition(";")[0]


class _RockRidgeNode(_IsoNode):
    @property
    def kind(self) -> Kind:
        if self._record.rock_ridge is not None and self._record.rock_ridge.is_symlink():
            return Kind.LINK
        return super().kind

    @property
    def size(self) -> int:
        return len(self.target()) if self.kind is Kind.LINK else super().size

    def target(self) -> str:
        return str(self._record.rock_ridge.symlink_path().decode(errors="replace"))

    def _name(self, record: Any) -> str:
        if record.rock_ridge is None:
            return super()._name(record)
        return str(record.rock_ridge.name().decode(errors="replace"))

    def _folded(self, name: str) -> str:
        return name
