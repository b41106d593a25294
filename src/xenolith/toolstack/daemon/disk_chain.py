"""The files of a disk in use: a VHD, its parent, its parent's parent.

A guest that broke out of its engine could write another parent into a header. So what counts are
the files of the chain that the domain's process has open, which the daemon once gave it.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xenolith.storage.errors import ImageError
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.vhd.header import NO_PARENT
from xenolith.storage.vhd.parent import find_parent, parent_header
from xenolith.toolstack.config.disk import DiskConfig, DiskFormat
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import disk as disk_nodes
from xenolith.toolstack.devices import nodes
from xenolith.toolstack.devices.vdev import device_number

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


class Link(NamedTuple):
    """A file of a chain."""

    path: str
    """Absolute and free of symbolic links: the process may not look where these lead."""
    format: DiskFormat


class Chain(NamedTuple):
    """The files of a VHD that a domain writes to, the leaf first."""

    devid: int
    links: list[Link]


def in_use(daemon: Daemon, domain: Domain, vdev: str) -> Chain:
    """The files of a disk now; DaemonError where it is no VHD that the domain writes to.

    The domain's record takes note if it is no longer the file that this began with: that was
    coalesced, perhaps while there was no daemon.
    """
    try:
        devid = device_number(vdev)
    except ValueError as error:
        raise DaemonError(str(error)) from None
    disks = (disk for disk in domain.config.disk if device_number(disk.vdev) == devid)
    disk = next(disks, None)
    if disk is None:
        raise DaemonError(f"Domain {domain.domid} has no disk {vdev}")
    if not disk.writable or disk.target is None or disk.format is not DiskFormat.VHD:
        raise DaemonError(f"{vdev} is no VHD that the domain writes to")
    target = os.path.realpath(disk.target)
    opened = _open_files(domain)
    try:
        links = [link for link in _chain(target) if _identity(link.path) in opened]
    except (ImageError, OSError) as error:
        raise DaemonError(str(error)) from None
    if not links:
        raise DaemonError(f"{target} is not the file any more that domain {domain.domid} uses")
    if links[0].path != target:
        _record(daemon, domain, disk, devid, links[0])
    return Chain(devid, links)


def _chain(leaf: str) -> list[Link]:
    """The files that the headers name, whoever uses them; ImageError."""
    links = [Link(leaf, DiskFormat.VHD)]
    while links[-1].format is DiskFormat.VHD:
        file = open_file(links[-1].path, Access.READ)
        try:
            head = parent_header(file)
            if head is None:
                break
            path = os.path.realpath(find_parent(file, head))
        finally:
            file.close()
        if path in (link.path for link in links):
            raise ImageError(f"{path} is its own ancestor")
        is_raw = head.parent_id == NO_PARENT
        links.append(Link(path, DiskFormat.RAW if is_raw else DiskFormat.VHD))
    return links


def _record(daemon: Daemon, domain: Domain, disk: DiskConfig, devid: int, leaf: Link) -> None:
    moved = dataclasses.replace(disk, target=leaf.path, format=leaf.format)
    disks = tuple(moved if other is disk else other for other in domain.config.disk)
    domain.config = dataclasses.replace(domain.config, disk=disks)
    domain.save()
    back = nodes.backend_path(domain.domid, disk_nodes.KIND, devid)
    for name, value in disk_nodes.medium_nodes(moved).items():
        daemon.store.write(f"{back}/{name}", value)


def _open_files(domain: Domain) -> set[tuple[int, int]]:
    """What the domain's process has open."""
    found = set()
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{domain.pid}/fd"):
            with suppress(OSError):
                found.add(_identity(descriptor.path))
    return found


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
