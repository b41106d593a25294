"""A device's directories in xenstore: the frontend's, the backend's and the toolstack's own.

They are made as by libxl__device_generic_add of libxl; the backends in the domain's process may write
their directory, too (xenstore.session.backends_domid).
"""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.abi.xenbus import XenbusState
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.permissions import Permission
from xenolith.xenstore.session import backends_domid
from xenolith.xenstore.store import Store

_NEW = str(XenbusState.Initialising.value)


def frontend_path(domid: int, kind: str, devid: int) -> str:
    """Where the guest's driver writes."""
    return f"/local/domain/{domid}/device/{kind}/{devid}"


def backend_path(domid: int, kind: str, devid: int) -> str:
    """Where the backend writes."""
    return f"{backend_kind_path(domid, kind)}/{devid}"


def backend_kind_path(domid: int, kind: str) -> str:
    """Where the backends of all devices of a kind have their directories."""
    return f"/local/domain/0/backend/{kind}/{domid}"


def libxl_path(domid: int, kind: str, devid: int) -> str:
    """Where the toolstack remembers the device."""
    return f"/libxl/{domid}/device/{kind}/{devid}"


def create(
    store: Store,
    domid: int,
    kind: str,
    devid: int,
    frontend: Mapping[str, str],
    backend: Mapping[str, str],
) -> None:
    """Make the directories of a new device, with what its two ends need to know."""
    front, back = frontend_path(domid, kind, devid), backend_path(domid, kind, devid)
    toolstack = libxl_path(domid, kind, devid)
    dom0, guest = Permission(0, perms.NONE), Permission(domid, perms.READ)
    backends = Permission(backends_domid(domid), perms.READ | perms.WRITE)
    directories = (
        (
            front,
            (Permission(domid, perms.NONE), Permission(0, perms.READ)),
            {"backend": back, "backend-id": "0", "state": _NEW, **frontend},
        ),
        (
            back,
            (dom0, backends, guest),
            {"frontend": front, "frontend-id": str(domid), "online": "1", "state": _NEW, **backend},
        ),
        (toolstack, perms.DOM0_ONLY, {"frontend": front, "backend": back, **backend}),
    )
    with store.transaction() as nodes:
        nodes.mkdir(backend_kind_path(domid, kind))
        nodes.set_permissions(backend_kind_path(domid, kind), (dom0, guest))
        for path, permissions, values in directories:
            nodes.mkdir(path)
            nodes.set_permissions(path, permissions)
            for name, value in values.items():
                nodes.write(f"{path}/{name}", value)


def request_removal(store: Store, domid: int, kind: str, devid: int) -> None:
    """Ask the frontend to let go of a device."""
    back = backend_path(domid, kind, devid)
    with store.transaction() as nodes:
        if nodes.exists(back):
            nodes.write(f"{back}/online", "0")
            nodes.write(f"{back}/state", str(XenbusState.Closing.value))


def is_removal_requested(store: Store, domid: int, kind: str, devid: int) -> bool:
    """Whether the frontend has been asked to let go of a device."""
    online = f"{backend_path(domid, kind, devid)}/online"
    return store.exists(online) and store.read(online) == b"0"


def insist_on_removal(store: Store, domid: int, kind: str, devid: int) -> None:
    """Ask again, where a backend that was just connecting has overwritten the request."""
    state = f"{backend_path(domid, kind, devid)}/state"
    if store.exists(state) and store.read(state) == b"%d" % XenbusState.Connected.value:
        store.write(state, str(XenbusState.Closing.value))


def is_closed(store: Store, domid: int, kind: str, devid: int) -> bool:
    """Whether the backend has closed the device, or was never connected by anybody."""
    state = f"{backend_path(domid, kind, devid)}/state"
    return not store.exists(state) or store.read(state) == b"%d" % XenbusState.Closed.value


def remove(store: Store, domid: int, kind: str, devid: int) -> None:
    """Remove the directories of a device that nobody serves any more."""
    with store.transaction() as nodes:
        for path in (
            frontend_path(domid, kind, devid),
            backend_path(domid, kind, devid),
            libxl_path(domid, kind, devid),
        ):
            if nodes.exists(path):
                nodes.rm(path)
