"""Copying the contents of an image to a new one of another format."""

from __future__ import annotations

import os
import stat
from enum import StrEnum

from xenolith.storage import fallocate
from xenolith.storage.copy import copy_image
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import new_file, open_locked
from xenolith.storage.open import open_image
from xenolith.storage.progress import Progress, silent
from xenolith.storage.raw import RawImage
from xenolith.storage.vhd.chain import Chain
from xenolith.storage.vhd.create import write_dynamic, write_fixed
from xenolith.storage.vhd.open import vhd_from


class Target(StrEnum):
    """What can be made."""

    RAW = "raw"
    DYNAMIC = "vhd"
    FIXED = "vhd-fixed"


def convert(
    source: str | os.PathLike[str],
    source_format: str,
    destination: str | os.PathLike[str],
    target: Target,
    progress: Progress = silent,
) -> None:
    """Make ``destination``, complete or not at all; or write a raw image to a block device.

    ImageError where the source cannot be opened, or the destination exists or cannot be made.
    """
    live = open_image(source, source_format, writable=False)
    try:
        if target is Target.RAW and os.path.exists(destination) and _is_device(destination):
            _write_device(live.image, destination, progress)
            return
        with new_file(destination) as file:
            copy_image(live.image, _prepared(file, live.size, target), progress)
            _complete(file, live.size, target)
    finally:
        live.close()


def _is_device(path: str | os.PathLike[str]) -> bool:
    return stat.S_ISBLK(os.stat(path).st_mode)


def _write_device(
    source: RawImage | Chain, path: str | os.PathLike[str], progress: Progress
) -> None:
    """Make a device begin with the contents of an image; what follows on it is left alone."""
    file = open_locked(path, Access.WRITE)
    try:
        if file.size < source.size:
            raise ImageError(f"{file.name} has {file.size} bytes, {source.size} are needed")
        fallocate.make_zero(file, 0, source.size)
        copy_image(source, RawImage(file, read_only=False, size=source.size), progress)
    finally:
        file.close()


def _prepared(file: ImageFile, size: int, target: Target) -> RawImage | Chain:
    """An image of zeroes in a new file."""
    if target is Target.DYNAMIC:
        write_dynamic(file, size)
        return vhd_from([file], read_only=False)
    os.ftruncate(file.fd, size)
    return RawImage(file, read_only=False, size=size)


def _complete(file: ImageFile, size: int, target: Target) -> None:
    if target is Target.FIXED:
        write_fixed(file, size)
