"""A disk's image between the daemon, which opens its files, and the domain's process, which reads them.

The process is jailed and opens nothing: it gets the descriptors, and the locks that are on them.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from xenolith.storage import live_snapshot
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE, Image
from xenolith.storage.live import LiveImage
from xenolith.storage.nbd.client import NbdImage
from xenolith.storage.nbd.client_handshake import Agreement
from xenolith.storage.open import image_from, locate
from xenolith.toolstack import rpc
from xenolith.toolstack.config.disk import DiskConfig, DiskFormat
from xenolith.toolstack.devices.nbd_server import open_foreign, socket_of
from xenolith.toolstack.rpc import Body

_BLKSSZGET = 0x1268

# Python loads codecs when they are first used, which the jail forbids; VHD has names in these.
for _codec in ("utf-16-be", "utf-16-le"):
    codecs.lookup(_codec)

_OURS = (DiskFormat.RAW, DiskFormat.VHD)
"""Formats that we read ourselves; a stock server reads the others."""


class OpenedDisk(NamedTuple):
    """What is sent to the domain's process: plain values, and descriptors that belong to them."""

    settings: Body
    fds: list[int]


def open_disk(disk: DiskConfig) -> OpenedDisk:
    """Open and lock the files of a disk; ImageError says what cannot be opened or is in use."""
    kind = disk.format if disk.target is not None else DiskFormat.EMPTY
    names: list[str] = []
    fds: list[int] = []
    agreement = None
    if disk.target is not None:
        if kind in _OURS:
            names, fds = _open_ours(disk, disk.target)
        else:
            foreign = open_foreign(disk, disk.target)
            names, fds = [foreign.name], [foreign.fd]
            agreement = foreign.agreement.plain()
    settings: Body = {
        "vdev": disk.vdev,
        "format": kind.value,
        "writable": disk.writable,
        "cdrom": disk.cdrom,
        "discard": disk.discard,
        "names": names,
        "local": kind in _OURS,
        "agreement": agreement,
        "sector_size": _sector_size(fds[0]) if kind is DiskFormat.RAW else SECTOR_SIZE,
    }
    return OpenedDisk(settings, fds)


def image_of(settings: Body, fds: Sequence[int]) -> Image | None:
    """The image of an opened disk, None for an empty drive; ImageError, OSError.

    The descriptors are the image's, or closed.
    """
    kind, names, writable = DiskFormat(settings["format"]), settings["names"], settings["writable"]
    if kind is DiskFormat.EMPTY:
        return None
    if kind not in _OURS:
        agreement = Agreement.from_plain(settings["agreement"])
        sock = socket_of(fds[0])
        return NbdImage(sock, name=names[0], read_only=not writable, agreement=agreement)
    try:
        files = [ImageFile(fd, name) for fd, name in zip(fds, names, strict=True)]
        return image_from(files, kind.value, writable)
    except BaseException:
        rpc.close_all(fds)
        raise


def change_snapshot(image: Image | None, settings: Body, fds: Sequence[int]) -> None:
    """Take a step of a snapshot (storage/live_snapshot.py) with an image in use; ImageError, OSError.

    The descriptor, that of the new leaf, is the image's, or closed.
    """
    (fd,) = fds
    child, kept = ImageFile(fd, settings["name"]), settings["kept"]
    try:
        if not isinstance(image, LiveImage):
            raise ImageError(f"{child.name} is not in use here")
        if settings["action"] == "switch-to-snapshot":
            live_snapshot.switch(image, child, kept)
            return
        live_snapshot.prepare(image, child, kept)
    except BaseException:
        child.close()
        raise
    child.close()


def _open_ours(disk: DiskConfig, target: str) -> tuple[list[str], list[int]]:
    located = locate(os.path.abspath(target), disk.format.value, disk.writable)
    return [file.name for file in located.files], [file.fd for file in located.files]


def _sector_size(fd: int) -> int:
    """The logical block size of a block device; that of disks for a file."""
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        with suppress(OSError):
            return int.from_bytes(fcntl.ioctl(fd, _BLKSSZGET, bytes(4)), "little")
    return SECTOR_SIZE
