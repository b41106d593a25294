"""What the daemon does about devices for its clients: methods of client.Toolstack, as in verbs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenolith.toolstack.daemon import devices, disk_snapshots, disks
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.daemon.nic_verbs import NIC_VERBS
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon


def _devices(daemon: Daemon, domain: Domain, request: Request) -> None:
    request.reply(devices.infos(daemon, domain, _text(request, "kind")))


def _attach_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.attach(
        daemon, domain, _text(request, "disk"), _text(request, "directory"), _answer(request)
    )


def _detach_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    force = request.params["force"] is True
    disks.detach(daemon, domain, _text(request, "vdev"), _answer(request), force=force)


def _insert_medium(daemon: Daemon, domain: Domain, request: Request) -> None:
    vdev, target = _text(request, "vdev"), _text(request, "target")
    disks.insert(daemon, domain, vdev, target, _answer(request))


def _eject_medium(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.insert(daemon, domain, _text(request, "vdev"), None, _answer(request))


def _measure_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    disks.measure(daemon, domain, _text(request, "vdev"), _answer(request))


def _snapshot_disk(daemon: Daemon, domain: Domain, request: Request) -> None:
    vdev, path = _text(request, "vdev"), _text(request, "path")
    disk_snapshots.snapshot(daemon, domain, vdev, path, _answer(request))


def _answer(request: Request) -> devices.Then:
    def then(error: DaemonError | None) -> None:
        if error is None:
            request.reply()
        else:
            request.fail(str(error))

    return then


def _text(request: Request, name: str) -> str:
    value = request.params[name]
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(name)
    return value


DEVICE_VERBS: dict[str, Callable[[Daemon, Domain, Request], None]] = {
    **NIC_VERBS,
    "devices": _devices,
    "attach_disk": _attach_disk,
    "detach_disk": _detach_disk,
    "insert_medium": _insert_medium,
    "eject_medium": _eject_medium,
    "measure_disk": _measure_disk,
    "snapshot_disk": _snapshot_disk,
}
"""The requests about a domain's devices; all need its process, and so wait until it is built."""
