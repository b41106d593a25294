"""The disks of domains: opened for the domain's process, attached, detached, and their media changed."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from xenolith.storage.errors import ImageError
from xenolith.toolstack.config import DomainConfig, DomainType
from xenolith.toolstack.config.disk import DiskConfig, DiskFormat, parse_disk
from xenolith.toolstack.config.runnable import refusal_of_disk
from xenolith.toolstack.daemon import devices
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices import disk as disk_nodes
from xenolith.toolstack.devices.disk import KIND
from xenolith.toolstack.devices.disk_image import open_disk
from xenolith.toolstack.devices.new_device import NewDevice
from xenolith.toolstack.devices.vdev import device_number

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def open_all(config: DomainConfig) -> list[NewDevice]:
    """Open and lock every disk of a configuration; all or, with a DaemonError, none."""
    opened: list[NewDevice] = []
    try:
        for disk in config.disk:
            device = _open(disk, config.type)
            opened.append(device)
            if [other.devid for other in opened].count(device.devid) > 1:
                raise DaemonError(f"two disks are called {disk.vdev}")
    except DaemonError:
        for device in opened:
            device.close()
        raise
    return opened


def attach(daemon: Daemon, domain: Domain, text: str, directory: str, then: devices.Then) -> None:
    """Attach the disk that a string of xl.cfg describes, its path relative to ``directory``."""
    disk = _parse(text, directory)
    if devices.exists(daemon, domain, KIND, _number(disk.vdev)):
        raise DaemonError(f"Domain {domain.domid} has a disk {disk.vdev} already")

    def attached(error: DaemonError | None) -> None:
        if error is None:
            _remember(domain, (*domain.config.disk, disk))
        then(error)

    devices.attach(daemon, domain, _open(disk, domain.config.type), attached)


def detach(daemon: Daemon, domain: Domain, vdev: str, then: devices.Then, *, force: bool) -> None:
    """Detach a disk, given by its name or number; ``force``: whatever the guest makes of that."""
    devid = _existing(daemon, domain, vdev)

    def detached(error: DaemonError | None) -> None:
        if error is None:
            rest = (disk for disk in domain.config.disk if _number(disk.vdev) != devid)
            _remember(domain, tuple(rest))
        then(error)

    detach_it = devices.force_detach if force else devices.detach
    detach_it(daemon, domain, KIND, devid, detached)


def insert(
    daemon: Daemon, domain: Domain, vdev: str, target: str | None, then: devices.Then
) -> None:
    """Put a raw image or a block device into a drive, or with None take out what is there."""
    devid = _existing(daemon, domain, vdev)
    old = next((disk for disk in domain.config.disk if _number(disk.vdev) == devid), None)
    if old is None or not old.cdrom:
        raise DaemonError(f"{vdev} of domain {domain.domid} is no drive for removable media")
    medium = dataclasses.replace(old, target=target, format=DiskFormat.RAW)
    if target is None:
        medium = dataclasses.replace(medium, format=DiskFormat.EMPTY)
    device = _open(medium, domain.config.type)
    device.backend = disk_nodes.medium_nodes(medium)

    def inserted(error: DaemonError | None) -> None:
        if error is None:
            _remember(domain, tuple(medium if disk is old else disk for disk in domain.config.disk))
        then(error)

    devices.change(daemon, domain, device, inserted)


def measure(daemon: Daemon, domain: Domain, vdev: str, then: devices.Then) -> None:
    """Have a disk's backend tell the guest how long the image is now."""
    devid = _existing(daemon, domain, vdev)
    device = NewDevice(
        kind=KIND, devid=devid, frontend={}, backend={}, settings={"action": "measure"}
    )
    devices.change(daemon, domain, device, then)


def _open(disk: DiskConfig, guest: DomainType) -> NewDevice:
    """Open one disk; DaemonError says what is wrong with it."""
    why = refusal_of_disk(disk)
    if why is not None:
        raise DaemonError(why)
    devid = _number(disk.vdev)
    try:
        settings, fds = open_disk(disk)
    except ImageError as error:
        raise DaemonError(f"disk {disk.vdev}: {error}") from None
    return NewDevice(
        kind=KIND,
        devid=devid,
        frontend=disk_nodes.frontend_nodes(disk, devid, guest),
        backend=disk_nodes.backend_nodes(disk),
        settings=settings,
        fds=fds,
    )


def _parse(text: str, directory: str) -> DiskConfig:
    try:
        disk = parse_disk(text)
    except ValueError as error:
        raise DaemonError(f"{error}, in '{text}'") from None
    if disk.target is None:
        return disk
    return dataclasses.replace(disk, target=os.path.join(directory, disk.target))


def _existing(daemon: Daemon, domain: Domain, vdev: str) -> int:
    devid = _number(vdev)
    if not devices.exists(daemon, domain, KIND, devid):
        raise DaemonError(f"Domain {domain.domid} has no disk {vdev}")
    return devid


def _number(vdev: str) -> int:
    try:
        return device_number(vdev)
    except ValueError as error:
        raise DaemonError(str(error)) from None


def _remember(domain: Domain, disks: tuple[DiskConfig, ...]) -> None:
    """Keep what a restart of the domain is to begin with."""
    domain.config = dataclasses.replace(domain.config, disk=disks)
    domain.save()
