"""A file system in memory, for tests of what reads configurations: text in, menu out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from xenolith.bootloader.file_system import FileSystem, Kind, Stream
from xenolith.bootloader.volumes import Volume, Volumes

Files = Mapping[str, str | bytes]
"""Contents by absolute path."""


class MemoryNode:
    def __init__(self, path: str, files: Files) -> None:
        self._path = path
        self._files = files

    @property
    def kind(self) -> Kind:
        return Kind.FILE if self._path in self._files else Kind.DIRECTORY

    @property
    def size(self) -> int:
        return len(self._data())

    def lookup(self, name: str) -> MemoryNode | None:
        return MemoryNode(f"{self._path}/{name}", self._files) if name in self.names() else None

    def names(self) -> Iterator[str]:
        below = f"{self._path}/"
        inside = (path.removeprefix(below) for path in self._files if path.startswith(below))
        return iter(dict.fromkeys(path.partition("/")[0] for path in inside))

    def target(self) -> str:
        raise ValueError("there are no links")

    def open(self) -> Stream:
        return io.BytesIO(self._data())

    def _data(self) -> bytes:
        data = self._files[self._path]
        return data.encode() if isinstance(data, str) else data


def volume(files: Files, name: str = "hd0,gpt2", uuid: str = "", label: str = "") -> Volume:
    number = "".join(char for char in name.partition(",")[2] if char.isdigit())
    system = FileSystem("memory", uuid, label, [MemoryNode("", files)])
    return Volume(name, int(number) if number else None, system)


def volumes(*each: Volume) -> Volumes:
    return Volumes(list(each))
