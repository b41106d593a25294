"""Snapshots, coalescing and resizing of an image while it is served.

They may be called from any thread and open no files: whoever may open some hands over the
descriptors. What can be copied beside the requests is; they wait only for the last step.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from xenolith.storage import lock
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.progress import Progress, silent
from xenolith.storage.raw import RawImage
from xenolith.storage.vhd import resize as vhd_resize
from xenolith.storage.vhd.chain import Chain
from xenolith.storage.vhd.coalesce import copy_blocks
from xenolith.storage.vhd.create import raw_parent, vhd_parent, write_differencing
from xenolith.storage.vhd.empty import empty
from xenolith.storage.vhd.header import NO_PARENT
from xenolith.storage.vhd.metadata import read_metadata
from xenolith.storage.vhd.open import vhd_from
from xenolith.storage.vhd.rewrite import accept_parent, reparent, set_parent_timestamp
from xenolith.storage.vhd.sparse_layer import SparseLayer
from xenolith.storage.vhd.timestamp import UNKNOWN

_FEW_BLOCKS = 16
"""So many may be copied while requests wait."""
_MOST_PASSES = 16
"""A guest may change blocks as fast as they are copied."""


def snapshot(live: LiveImage, file: ImageFile) -> None:
    """Keep the disk as it is now: from here on, writes go to ``file``, an empty one.

    It becomes a child of what was the leaf, and belongs to the image. The leaf's name and this
    one must be absolute and free of symbolic links where the process may not look.
    """
    with live.changing, live.gate.alone():
        _refuse_read_only(live)
        live.image.flush()
        leaf = live.files[0]
        parent = raw_parent(leaf) if live.is_raw else vhd_parent(leaf)
        write_differencing(file, parent)
        os.fsync(file.fd)
        live.image = vhd_from([file, *live.files], read_only=False)
        live.is_raw = False
        # Others may read it from now on, and have children of it as well.
        lock.downgrade(leaf)


def resize(live: LiveImage, size: int) -> None:
    """Give the disk another length in bytes, which must be whole sectors."""
    with live.changing, live.gate.alone():
        _refuse_read_only(live)
        live.image.flush()
        try:
            _resize(live.files[0], size, is_raw=live.is_raw)
        finally:
            # However far that came: the image must not go by what the file has been.
            live.image = _image_of(live.files, is_raw=live.is_raw)


def coalesce(
    live: LiveImage, link: int, writable: Sequence[ImageFile], progress: Progress = silent
) -> None:
    """Copy what the file at ``link`` (0 is the leaf) has into its parent, and do without it.

    ``writable`` are the files from the leaf to the parent, opened anew for writing, without locks;
    they then belong to the image. The file that is done without may be deleted; if it was the leaf
    it is empty now, and still shows the same disk.
    ImageError if another image uses the parent, or the image is closed meanwhile; whatever fails,
    what ``progress`` raises included, the image remains in use as it was.
    """
    with live.changing:
        _refuse_closed(live)
        _refuse_read_only(live)
        files = live.files
        _check_files(files, link, writable)
        below = writable[-1]
        _exchange_locks(files[link + 1], below)
        try:
            _coalesce(live, link, writable, progress)
        except BaseException:
            lock.release(below)
            lock.acquire(files[link + 1], Access.READ)
            raise
        finally:
            live.unwatch()
        for file in (*writable[:-1], files[link], files[link + 1]):
            file.close()


def _coalesce(
    live: LiveImage, link: int, writable: Sequence[ImageFile], progress: Progress
) -> None:
    files, below = live.files, writable[-1]
    assert isinstance(live.image, Chain)
    layer = live.image.layers[link]
    assert isinstance(layer, SparseLayer)
    is_raw = _parent_is_raw(files[link])
    # The parent is going to change, and with its header each file seems to. From the leaf on, so
    # that the chain can be opened at any moment.
    for file in writable[:-1]:
        set_parent_timestamp(file, UNKNOWN)
    if RawImage(below, read_only=True).size < layer.size if is_raw else _size(below) < layer.size:
        _resize(below, layer.size, is_raw=is_raw)
    target = _image_of([below, *files[link + 2 :]], is_raw=is_raw)
    if not link:
        live.watch(layer.block_size)
    live.flush()
    blocks = [block for block, _ in layer.table.allocated()]
    copy_blocks(layer, blocks, target, _unless_closed(live, progress))
    changed = live.written() if not link else set()
    for _ in range(_MOST_PASSES):
        if len(changed) <= _FEW_BLOCKS:
            break
        copy_blocks(layer, changed, target, _unless_closed(live, silent))
        changed = live.written()
    target.flush()
    with live.gate.alone():
        live.image.flush()
        copy_blocks(layer, changed | live.written(), target, silent)
        target.flush()
        try:
            if link:
                reparent(writable[link - 1], raw_parent(below) if is_raw else vhd_parent(below))
            else:
                empty(files[0])
        except BaseException:
            # The leaf's file may no longer be as the image remembers it.
            live.image = _image_of(files, is_raw=False)
            raise
        if link:
            _resume_comparisons(writable[:link])
            lock.downgrade(below)
        remaining = [*files[:link], below, *files[link + 2 :]]
        live.is_raw = is_raw and not link
        live.image = _image_of(remaining, is_raw=live.is_raw)


def _resume_comparisons(files: Sequence[ImageFile]) -> None:
    """Let each of the files, leaf first, take note of the next one's modification time."""
    for child in range(len(files) - 2, -1, -1):
        # It is done without this, only that a parent that is modified later is not noticed.
        with suppress(OSError):
            accept_parent(files[child], files[child + 1])


def _parent_is_raw(file: ImageFile) -> bool:
    head = read_metadata(file).header
    return head is not None and head.parent_id == NO_PARENT


def _size(file: ImageFile) -> int:
    return read_metadata(file).size


def _image_of(files: Sequence[ImageFile], *, is_raw: bool) -> RawImage | Chain:
    return RawImage(files[0], read_only=False) if is_raw else vhd_from(files, read_only=False)


def _resize(file: ImageFile, size: int, *, is_raw: bool) -> None:
    if not is_raw:
        vhd_resize.resize(file, size)
        return
    if size <= 0 or size % SECTOR_SIZE:
        raise ImageError(f"{file.name} cannot have {size} bytes: it has whole sectors of 512 bytes")
    if not stat.S_ISREG(os.fstat(file.fd).st_mode):
        raise ImageError(f"{file.name} is a device, and resized by whoever made it")
    os.ftruncate(file.fd, size)
    os.fsync(file.fd)


def _unless_closed(live: LiveImage, progress: Progress) -> Progress:
    """The same, but it ends the work on an image that is to be closed."""

    def report(done: int, total: int) -> None:
        _refuse_closed(live)
        progress(done, total)

    return report


def _refuse_closed(live: LiveImage) -> None:
    if live.closing:
        raise ImageError(f"{live.files[0].name} was closed before that was done")


def _refuse_read_only(live: LiveImage) -> None:
    if live.read_only:
        raise ImageError(f"{live.files[0].name} was opened for reading only")


def _check_files(files: Sequence[ImageFile], link: int, writable: Sequence[ImageFile]) -> None:
    if not 0 <= link < len(files) - 1:
        raise ImageError(f"{files[0].name} has no file number {link} that has a parent")
    if _identities(files[: link + 2]) != _identities(writable):
        raise ImageError(
            f"these are not the files of {files[0].name} down to the parent of number {link}"
        )


def _identities(files: Iterable[ImageFile]) -> list[tuple[int, int]]:
    statuses = [os.fstat(file.fd) for file in files]
    return [(status.st_dev, status.st_ino) for status in statuses]


def _exchange_locks(reader: ImageFile, writer: ImageFile) -> None:
    """Become the one who writes a file that this image has only read so far."""
    lock.release(reader)
    try:
        lock.acquire(writer, Access.WRITE)
    except BaseException:
        lock.acquire(reader, Access.READ)
        raise
