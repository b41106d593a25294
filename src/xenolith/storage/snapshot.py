"""Snapshots, clones and coalescing of images that nobody uses, by their paths."""

from __future__ import annotations

import os
from collections.abc import Sequence

from xenolith.storage import changes
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import new_file, open_file, open_locked, replacing_file
from xenolith.storage.open import Format, locate, open_image
from xenolith.storage.progress import Progress, silent
from xenolith.storage.vhd.create import Parent, raw_parent, vhd_parent, write_differencing
from xenolith.storage.vhd.parent import open_parent, parent_header
from xenolith.storage.vhd.rewrite import UNCHECKED, reparent, set_parent_timestamp


def snapshot(
    parent: str | os.PathLike[str], parent_format: str, child: str | os.PathLike[str]
) -> None:
    """Make a child of an image, whose own chain must be in order."""
    located = locate(parent, parent_format, writable=False)
    try:
        leaf = located.files[0]
        identity = raw_parent(leaf) if located.format is Format.RAW else vhd_parent(leaf)
        with new_file(child) as file:
            write_differencing(file, identity)
    finally:
        located.close()


def clone(image: str, base: str, path: str) -> None:
    """Rename a VHD to ``base`` and make two children of it, ``image`` and ``path``.

    Whenever this is interrupted, ``image`` is there and holds the same.
    """
    if os.path.lexists(path):
        raise ImageError(f"{path} exists already")
    image = os.path.realpath(image)
    if os.path.dirname(os.path.realpath(base)) != os.path.dirname(image):
        raise ImageError(f"{base} must be in the directory of {image}, whose parent it may name")
    located = locate(image, Format.VHD, writable=True)
    try:
        leaf = located.files[0]
        identity = vhd_parent(ImageFile(leaf.fd, base))
        try:
            os.link(image, base)
        except OSError as error:
            raise ImageError(f"{base} cannot be created: {error.strerror}") from error
        with new_file(path) as file:
            write_differencing(file, identity)
        with replacing_file(image) as file:
            write_differencing(file, identity)
    finally:
        located.close()


def free_base_name(image: str) -> str:
    """A name beside an image that nothing has yet."""
    stem, extension = os.path.splitext(image)
    number, name = 1, f"{stem}-base{extension}"
    while os.path.lexists(name):
        number += 1
        name = f"{stem}-base{number}{extension}"
    return name


def coalesce(image: str, children: Sequence[str], progress: Progress = silent) -> None:
    """Move what a VHD holds into its parent, which its children then have for theirs.

    Whenever this is interrupted, each image holds the same.
    """
    opened = [open_locked(child, Access.WRITE) for child in children]
    try:
        _check_children(image, opened)
        for child in opened:
            set_parent_timestamp(child, UNCHECKED)
        identity = _coalesce(image, progress)
        for child in opened:
            reparent(child, identity)
    finally:
        for child in opened:
            child.close()


def _coalesce(image: str, progress: Progress) -> Parent:
    live = open_image(image, Format.VHD, writable=True)
    try:
        if len(live.files) < 2:
            raise ImageError(f"{image} has no parent")
        files = [open_file(file.name, Access.WRITE) for file in live.files[:2]]
        changes.coalesce(live, 0, files, progress)
        live.flush()
        parent = live.files[0]
        return raw_parent(parent) if live.is_raw else vhd_parent(parent)
    finally:
        live.close()


def _check_children(image: str, children: Sequence[ImageFile]) -> None:
    """ImageError unless the image is the parent of each."""
    for child in children:
        head = parent_header(child)
        if head is None:
            raise ImageError(f"{child.name} has no parent")
        parent = open_parent(child, head)
        try:
            if not os.path.samefile(parent.name, image):
                raise ImageError(f"the parent of {child.name} is {parent.name}, not {image}")
        finally:
            parent.close()
