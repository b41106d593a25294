"""Opening the files of images: locked, and new ones complete or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xenolith.storage import lock
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access

# Opening a FIFO or a terminal must not wait for anybody.
_FLAGS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_locked(path: str | os.PathLike[str], access: Access) -> ImageFile:
    """Open a regular file or a block device and lock it; ImageError where that cannot be."""
    file = open_file(path, access)
    try:
        lock.acquire(file, access)
    except BaseException:
        file.close()
        raise
    return file


def open_file(path: str | os.PathLike[str], access: Access) -> ImageFile:
    """Open a regular file or a block device; ImageError where that cannot be."""
    name = os.fspath(path)
    try:
        flags = _FLAGS | os.O_RDONLY
        if access is Access.WRITE:
            # Of a block device O_EXCL means: nobody has it mounted.
            exclusive = os.O_EXCL if stat.S_ISBLK(os.stat(name).st_mode) else 0
            flags = _FLAGS | os.O_RDWR | exclusive
        file = ImageFile(os.open(name, flags), name)
    except OSError as error:
        raise ImageError(f"{name} cannot be opened: {error.strerror}") from error
    mode = os.fstat(file.fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        file.close()
        raise ImageError(f"{name} is neither a file nor a block device")
    return file


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[ImageFile]:
    """A new file that gets its name when the block ends well, with its contents on the disk.

    It is locked for writing, and closed in the end. ImageError if the name is taken, or the file
    cannot be made.
    """
    name = os.fspath(path)
    directory = os.path.dirname(os.path.abspath(name))
    if os.path.lexists(name):
        raise ImageError(f"{name} exists already")
    try:
        fd, temporary = _open_unnamed(directory)
    except OSError as error:
        raise ImageError(f"{name} cannot be created: {error.strerror}") from error
    file = ImageFile(fd, name)
    try:
        lock.acquire(file, Access.WRITE)
        yield file
        os.fsync(fd)
        _name(temporary or f"/proc/self/fd/{fd}", name)
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        file.close()


@contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[ImageFile]:
    """As :func:`new_file`, but what has the name already is replaced when the block ends well."""
    directory, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(8)}")
    with new_file(temporary) as file:
        yield file
    os.rename(temporary, path)
    _sync(directory)


def _open_unnamed(directory: str) -> tuple[int, str | None]:
    """A new file without a name, or with a temporary one where the file system needs one."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666), None
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
    path = os.path.join(directory, f".{secrets.token_hex(8)}.new")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path


def _name(old: str, new: str) -> None:
    """Give a file its name, on the disk too; unlike a rename, this replaces nothing."""
    directory, name = os.path.split(os.path.abspath(new))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a descriptor of a directory does Python follow the link to an unnamed file.
        os.link(old, name, dst_dir_fd=fd, follow_symlinks=True)
    except OSError as error:
        raise ImageError(f"{new} cannot be created: {error.strerror}") from error
    finally:
        os.close(fd)
    _sync(directory)


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
