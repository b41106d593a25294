"""Snapshots, clones and coalescing of images that nobody uses, by their paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from xenolith.storage import changes
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import new_file, open_file, open_locked, replacing_file
from xenolith.storage.open import Format, locate, open_image
from xenolith.storage.progress import Progress, silent
from xenolith.storage.vhd.create import Parent, raw_parent, vhd_parent, write_differencing
from xenolith.storage.vhd.header import NO_PARENT
from xenolith.storage.vhd.parent import find_parent, parent_header
from xenolith.storage.vhd.rewrite import accept_parent, reparent, set_parent_timestamp
from xenolith.storage.vhd.timestamp import UNKNOWN


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


def coalesce(image: str, descendants: Sequence[str], progress: Progress = silent) -> None:
    """Move what a VHD holds into its parent.

    ``descendants`` are images whose chains it is in: those become shorter. Whenever this is
    interrupted, each of them and the image hold the same.
    """
    with ExitStack() as stack:
        opened: dict[tuple[int, int], ImageFile] = {}
        lineages = [_lineage(image, path, opened, stack) for path in descendants]
        for lineage in lineages:
            for file in lineage:
                set_parent_timestamp(file, UNKNOWN)
        identity = _coalesce(image, progress)
        for lineage in lineages:
            _adopt(lineage, identity)


def _lineage(
    image: str, path: str, opened: dict[tuple[int, int], ImageFile], stack: ExitStack
) -> list[ImageFile]:
    """The files from a descendant up to the image's child, opened and locked for writing once."""
    lineage: list[ImageFile] = []
    current = path
    while not os.path.samefile(current, image):
        status = os.stat(current)
        file = opened.get((status.st_dev, status.st_ino))
        if file is None:
            file = open_locked(current, Access.WRITE)
            stack.callback(file.close)
            opened[status.st_dev, status.st_ino] = file
        head = parent_header(file)
        if head is None or file in lineage:
            raise ImageError(f"{image} is no ancestor of {path}")
        lineage.append(file)
        current = find_parent(file, head)
        if head.parent_id == NO_PARENT and not os.path.samefile(current, image):
            raise ImageError(f"{image} is no ancestor of {path}")
    if not lineage:
        raise ImageError(f"{path} is the image itself, not one of its descendants")
    return lineage


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


def _adopt(lineage: Sequence[ImageFile], parent: Parent) -> None:
    """Give the last file of a lineage another parent, and let the others take note."""
    head = parent_header(lineage[-1])
    if head is not None and head.parent_id != parent.unique_id:
        reparent(lineage[-1], parent)
    for child in range(len(lineage) - 2, -1, -1):
        accept_parent(lineage[child], lineage[child + 1])
