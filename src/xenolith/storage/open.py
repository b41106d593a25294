"""Opening images in two steps, since the process that serves one may open no files.

The daemon *locates* an image: it opens and locks every file of it. The jailed process makes the
image *from* the descriptors that it was handed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.raw import RawImage
from xenolith.storage.vhd.open import vhd_from
from xenolith.storage.vhd.parent import open_chain


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
    leaf = open_locked(path, Access.WRITE if writable else Access.READ)
    try:
        files = open_chain(leaf) if kind is Format.VHD else [leaf]
    except BaseException:
        leaf.close()
        raise
    return Located(files, kind, writable)


def image_from(files: Sequence[ImageFile], image_format: str, writable: bool) -> LiveImage:
    """The image that consists of these files, which it owns unless this fails; opens nothing."""
    if _format(image_format) is Format.VHD:
        return LiveImage(vhd_from(files, read_only=not writable), is_raw=False)
    (file,) = files
    return LiveImage(RawImage(file, read_only=not writable), is_raw=True)


def open_image(path: str | os.PathLike[str], image_format: str, writable: bool) -> LiveImage:
    """Locate an image and open it in this process."""
    located = locate(path, image_format, writable)
    try:
        return image_from(located.files, located.format, writable)
    except BaseException:
        located.close()
        raise


def _format(name: str) -> Format:
    try:
        return Format(name)
    except ValueError:
        raise ImageError(
            f"'{name}' is not a format of disk images (use one of {', '.join(Format)})"
        ) from None
