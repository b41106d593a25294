"""Writes cpio archives in the "newc" format, the one that Linux unpacks as its initramfs.

Linux's Documentation/driver-api/early-userspace/buffer-format.rst defines it. Archives are
deterministic: the owner is root, times are zero, inode numbers count up.
"""

from __future__ import annotations

import stat
from types import TracebackType
from typing import BinaryIO

_ALIGNMENT = 4
_BLOCK = 512
_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_LARGEST_FILE = 0xFFFF_FFFF


class CpioWriter:
    """Appends entries to an archive; as a context manager it ends the archive as well.

    Paths are relative to the root without a leading slash. A directory must be added before what
    it holds, because Linux creates none by itself.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self._inode = 0

    def __enter__(self) -> CpioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()

    def directory(self, path: str, permissions: int = 0o755) -> None:
        """Add a directory."""
        self._entry(path, stat.S_IFDIR | permissions)

    def file(self, path: str, data: bytes, permissions: int = 0o644) -> None:
        """Add a regular file; ValueError if it is larger than the format allows."""
        if len(data) > _LARGEST_FILE:
            raise ValueError(f"{path} is too large for a cpio archive: {len(data)} bytes")
        self._entry(path, stat.S_IFREG | permissions, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """Add a character device node."""
        self._entry(path, stat.S_IFCHR | permissions, device=(major, minor))

    def finish(self) -> None:
        """Write the trailer and pad the archive to whole sectors."""
        self._inode = -1
        self._entry(_TRAILER, 0)
        self._write(bytes(-self._offset % _BLOCK))

    def _entry(
        self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        name = path.encode() + b"\0"
        owner_links_time = (0, 0, 1, 0)
        file_device, checksum = (0, 0), 0
        fields = (
            self._inode,
            mode,
            *owner_links_time,
            len(data),
            *file_device,
            *device,
            len(name),
            checksum,
        )
        self._write(_MAGIC + b"".join(b"%08X" % field for field in fields) + name)
        self._pad()
        self._write(data)
        self._pad()

    def _pad(self) -> None:
        self._write(bytes(-self._offset % _ALIGNMENT))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._offset += len(data)
