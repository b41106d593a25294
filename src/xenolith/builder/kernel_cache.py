"""A cache of unpacked kernels, so that only the first start of a kernel pays for unpacking it.

The unjailed parent asks :meth:`KernelCache.lookup`; on a miss it opens a slot, into which a jailed
child unpacks the kernel, and commits it. Entries are keyed by what the bzImage contains, so a
child that a hostile kernel has taken over can spoil no entry but that kernel's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.packed_kernel import find_payload
from xenolith.builder.payload import LARGEST_KERNEL
from xenolith.builder.symlink import replace_symlink

_ENTRIES_KEPT = 8
_NAMELESS = "nameless-"
"""Marks a memory file, which nobody will bring again: only its contents are worth to be remembered."""
_TEMPORARY_PREFIX = "unpacking-"
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which a temporary file is one that a killed process left behind."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A file for a kernel to be unpacked into; ``fd`` is open for reading and writing.

    ``path`` is None where the cache cannot be written, or its disk is full: then the file lives in memory only.
    """

    fd: int
    path: Path | None
    digest: str
    identity: str


class KernelCache:
    """Unpacked kernels below one directory, shared safely between processes.

    An entry is named by the SHA-256 of the packed kernel and by its own size, which tells a file
    whose data was lost in a crash of the host. The index has a symbolic link per packed file, named
    by the file's identity, so that a kernel is read only once to learn its digest.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or cache_directory() / "kernels"
        self._index = self._directory / "index"
        self._digests: dict[str, str] = {}

    def lookup(self, kernel: ImageFile) -> int | None:
        """Return a new descriptor of the unpacked form of a packed kernel, None if unknown.

        BuildError if the file cannot be a kernel: it is no regular file, or too large.
        """
        identity = _identity(kernel)
        try:
            name = os.path.basename(os.readlink(self._index / identity))
        except OSError:
            found = next(self._directory.glob(f"{self._digest(kernel, identity)}-*"), None)
            if found is None:
                return None
            name = found.name
            self._link(identity, name)
        return self._open(name)

    def open_slot(self, kernel: ImageFile) -> Slot:
        """Make the file that a packed kernel is to be unpacked into; BuildError if it cannot be one.

        End with :meth:`commit` or :meth:`discard`; both close the slot's descriptor.
        """
        identity = _identity(kernel)
        digest = self._digest(kernel, identity)
        size = find_payload(kernel).unpacked_size
        with contextlib.suppress(OSError):
            self._index.mkdir(mode=0o700, parents=True, exist_ok=True)
            room = os.statvfs(self._directory)
            if room.f_bavail * room.f_frsize >= size:
                file, path = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=self._directory)
                return Slot(file, Path(path), digest, identity)
        return Slot(os.memfd_create("xenolith-kernel", os.MFD_CLOEXEC), None, digest, identity)

    def commit(self, slot: Slot) -> None:
        """Make the slot's content the cached kernel; the child must have written all of it."""
        size = os.fstat(slot.fd).st_size
        os.close(slot.fd)
        if slot.path is None:
            return
        name = f"{slot.digest}-{size}"
        with contextlib.suppress(OSError):  # the domain has its kernel, cached or not
            slot.path.replace(self._directory / name)
            self._link(slot.identity, name)
            self._prune()

    def discard(self, slot: Slot) -> None:
        """Forget a slot whose kernel could not be unpacked."""
        os.close(slot.fd)
        if slot.path is not None:
            slot.path.unlink(missing_ok=True)

    def _digest(self, kernel: ImageFile, identity: str) -> str:
        if identity in self._digests:
            return self._digests[identity]
        with open(kernel.fd, "rb", closefd=False) as file:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not identity.startswith(_NAMELESS):
            self._digests[identity] = digest
        return digest

    def _open(self, name: str) -> int | None:
        path = self._directory / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if os.fstat(fd).st_size != int(name.partition("-")[2]):
            os.close(fd)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(fd)  # for _prune, which keeps what was used last
        return fd

    def _link(self, identity: str, name: str) -> None:
        """Point the index at an entry; a reader sees the old link or the new one."""
        if identity.startswith(_NAMELESS):
            return
        with contextlib.suppress(OSError):  # without a link it is found by its digest
            replace_symlink(self._index / identity, f"../{name}")

    def _prune(self) -> None:
        """Keep the entries that were used last, and no link that points nowhere."""
        entries = []
        now = time.time()
        with contextlib.suppress(FileNotFoundError):  # another process prunes as well
            for path in self._directory.iterdir():
                status = path.stat()
                if path.name.startswith(_TEMPORARY_PREFIX):
                    if now - status.st_mtime > _ABANDONED_AFTER:
                        path.unlink()
                elif stat.S_ISREG(status.st_mode):
                    entries.append((status.st_mtime_ns, path))
            for _, path in sorted(entries)[:-_ENTRIES_KEPT]:
                path.unlink()
            for link in self._index.iterdir():
                if not link.exists():
                    link.unlink()


def _identity(kernel: ImageFile) -> str:
    """What tells one version of a file from another without reading it.

    The change time is part of it because anybody may set the modification time back.
    """
    status = os.fstat(kernel.fd)
    if not stat.S_ISREG(status.st_mode):
        raise BuildError(f"{kernel.name} is not a regular file")
    if status.st_size > LARGEST_KERNEL:
        raise BuildError(
            f"{kernel.name} is no kernel: it has {status.st_size >> 20} MiB, "
            f"and {LARGEST_KERNEL >> 20} MiB is the limit"
        )
    return (
        f"{'' if status.st_nlink else _NAMELESS}"
        f"{status.st_dev:x}-{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
        f"-{status.st_size:x}"
    )
