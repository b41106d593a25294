"""Opening images in two steps, since the process that serves one may open no files.

The daemon *locates* an image: it opens and locks every file of it. The jailed process makes the
image *from* the descriptors that it was handed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from xenolith.storage import lock
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import Image
from xenolith.storage.lock import Access
from xenolith.storage.raw import RawImage


class Format(StrEnum):
    """The formats that files are read in; they are never guessed."""

    RAW = "raw"
    VHD = "vhd"


@dataclass(frozen=True, slots=True)
class Located:
    """The open, locked files of an image: the leaf, then its parent, its parent's parent, ..."""

    files: list[ImageFile]
    format: Format
    writable: bool

    def close(self) -> None:
        """Close all files; not needed once an image has been made of them."""
        for file in self.files:
            file.close()


def locate(path: str | os.PathLike[str], image_format: str, writable: bool) -> Located:
    """Open the files of an image and lock them; ``image_format`` is the value of a Format.

    Only the leaf is opened for writing, and that only if ``writable``. ImageError where a file is
    in use, is no image of that format, or cannot be opened.
    """
    kind = _format(image_format)
    files = [open_locked(path, Access.WRITE if writable else Access.READ)]
    return Located(files, kind, writable)


def image_from(files: Sequence[ImageFile], image_format: str, writable: bool) -> Image:
    """The image that consists of these files, which it then owns; opens nothing."""
    _format(image_format)
    (file,) = files
    return RawImage(file, read_only=not writable)


def open_image(path: str | os.PathLike[str], image_format: str, writable: bool) -> Image:
    """Locate an image and open it in this process."""
    located = locate(path, image_format, writable)
    return image_from(located.files, located.format, writable)


def open_locked(path: str | os.PathLike[str], access: Access) -> ImageFile:
    """Open a regular file or a block device and lock it; ImageError where that cannot be."""
    name = os.fspath(path)
    # Opening a FIFO or a terminal must not wait for anybody.
    flags = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        status = os.stat(name)
        if access is Access.READ:
            flags |= os.O_RDONLY
        else:
            flags |= os.O_RDWR
            # Of a block device this means: nobody has it mounted.
            flags |= os.O_EXCL if stat.S_ISBLK(status.st_mode) else 0
        file = ImageFile(os.open(name, flags), name)
    except OSError as error:
        raise ImageError(f"{name} cannot be opened: {error.strerror}") from error
    try:
        mode = os.fstat(file.fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise ImageError(f"{name} is neither a file nor a block device")
        lock.acquire(file, access)
    except BaseException:
        file.close()
        raise
    return file


def _format(name: str) -> Format:
    try:
        return Format(name)
    except ValueError:
        raise ImageError(
            f"'{name}' is not a format of disk images (use one of {', '.join(Format)})"
        ) from None
