"""Locks that keep two users of an image apart: any number of readers, or one writer.

They are locks of open file descriptions (fcntl(2), F_OFD_SETLK) on the bytes that QEMU uses for
the same purpose (block/file-posix.c), so its programs and ours refuse each other's images. They go
where the descriptor goes, to another process too, and end when its last copy is closed.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile

_FLOCK = struct.Struct("@hhqqi4x")
"""struct flock: l_type, l_whence, l_start, l_len, l_pid."""

_USED = 100
_NOT_SHARED = 200
"""A read lock on the byte at one of these plus a permission: it is used, or others may not."""

_CONSISTENT_READ = 0
_WRITE = 1
_RESIZE = 3


class Access(Enum):
    """What the holder of a lock does with the image; the permissions that it uses."""

    READ = (_CONSISTENT_READ,)
    WRITE = (_CONSISTENT_READ, _WRITE, _RESIZE)


_EXCLUSIVE = (_WRITE, _RESIZE)
"""What nobody else may do, be the holder a reader or the writer."""


def acquire(file: ImageFile, access: Access) -> None:
    """Lock an image; ImageError naming the holder where others' use of it forbids that."""
    held = [_USED + permission for permission in access.value]
    held += [_NOT_SHARED + permission for permission in _EXCLUSIVE]
    forbidding = [_NOT_SHARED + permission for permission in access.value]
    forbidding += [_USED + permission for permission in _EXCLUSIVE]
    _set(file.fd, fcntl.F_RDLCK, held)
    if any(_is_held_by_others(file.fd, byte) for byte in forbidding):
        release(file)
        raise ImageError(f"{file.name} is in use{_by_whom(file)}")


def downgrade(file: ImageFile) -> None:
    """Have the writer of an image go on as a reader; nobody else can become its writer meanwhile."""
    for permission in set(Access.WRITE.value) - set(Access.READ.value):
        _call(file.fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _USED + permission, 1)


def release(file: ImageFile) -> None:
    """Give up what was locked through this open file."""
    _call(file.fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _USED, _NOT_SHARED + _USED)


def _set(fd: int, kind: int, at: Iterable[int]) -> None:
    for byte in at:
        _call(fd, fcntl.F_OFD_SETLK, kind, byte, 1)


def _is_held_by_others(fd: int, byte: int) -> bool:
    answer = _call(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte, 1)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _call(fd: int, command: int, kind: int, start: int, length: int) -> bytes:
    return fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _by_whom(file: ImageFile) -> str:
    """The other processes that have locks on the file, as far as we may look into them."""
    status = os.fstat(file.fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    holders = []
    # In a jail there is nothing to look into.
    with suppress(OSError):
        for process in Path("/proc").glob("[0-9]*"):
            if process.name != str(os.getpid()) and _has_lock(process, device):
                holders.append(int(process.name))
    if not holders:
        return " by this process" if _has_lock(Path("/proc/self"), device) else ""
    plural = "es" if len(holders) > 1 else ""
    return f" by process{plural} {', '.join(map(_with_name, sorted(holders)))}"


def _with_name(process: int) -> str:
    """A process as ps(1) would know it: that of a domain is called after the domain."""
    with suppress(OSError):
        return f"{process} ({Path(f'/proc/{process}/comm').read_text().strip()})"
    return str(process)


def _has_lock(process: Path, device: str) -> bool:
    with suppress(OSError):
        for information in (process / "fdinfo").iterdir():
            # The descriptor, or the process, may have gone.
            with suppress(OSError):
                for line in information.read_text().splitlines():
                    if line.startswith("lock:") and "OFDLCK" in line and device in line.split():
                        return True
    return False
