"""What the daemon does about devices for its clients: methods of client.Toolstack, as in verbs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.toolstack.daemon import devices, disk_coalescing, disk_snapshots, disks
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.nic_verbs import NIC_VERBS
from xenolith.toolstack.daemon.parameters import flag, text, text_or_none
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def _devices(daemon: Daemon, domain: Domain, request: Request) -> None:
    request.reply(devices.infos(daemon, domain, text(request, "kind")))


def _attach_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.attach(
        daemon, domain, text(request, "disk"), text(request, "directory"), devices.answer(request)
    )


def _detach_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    force = flag(request, "force")
    disks.detach(daemon, domain, text(request, "vdev"), devices.answer(request), force=force)


def _insert_medium(daemon: Daemon, domain: Domain, request: Request) -> None:
    vdev, target = text(request, "vdev"), text(request, "target")
    disks.insert(daemon, domain, vdev, target, devices.answer(request))


def _eject_medium(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.insert(daemon, domain, text(request, "vdev"), None, devices.answer(request))


def _measure_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.measure(daemon, domain, text(request, "vdev"), devices.answer(request))


def _snapshot_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    vdev, path = text(request, "vdev"), text(request, "path")
    disk_snapshots.snapshot(daemon, domain, vdev, path, devices.answer(request))


def _coalesce_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    vdev, path = text(request, "vdev"), text_or_none(request, "path")
    request.reply(None, [disk_coalescing.coalesce(daemon, domain, vdev, path)])


DEVICE_VERBS: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    **NIC_VERBS,
    "devices": _devices,
    "attach_disk": _attach_disk,
    "detach_disk": _detach_disk,
    "insert_medium": _insert_medium,
    "eject_medium": _eject_medium,
    "measure_disk": _measure_disk,
    "snapshot_disk": _snapshot_disk,
    "coalesce_disk": _coalesce_disk,
}
"""The requests about a domain's devices; all need its process, and so wait until it is built."""
