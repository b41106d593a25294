"""Which backend serves which kind of device: makes it, in the domain's process, of what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenolith.backends.block import BlockBackend
from xenolith.backends.io_thread import IoThread
from xenolith.backends.xenbus import DeviceBackend, Guest, Nodes
from xenolith.toolstack.devices import disk, vif, vif2
from xenolith.toolstack.devices.disk_image import change_snapshot, image_of
from xenolith.toolstack.rpc import Body

MakeBackend = Callable[[Guest, IoThread, Body, Sequence[int]], DeviceBackend]
"""Makes a backend of its settings and descriptors; ImageError, OSError, ValueError.

The descriptors are the backend's, or closed.
"""

ChangeBackend = Callable[
    [DeviceBackend, IoThread, Body, Sequence[int]], Callable[[Callable[[Nodes], None]], None]
]
"""Makes a change of a backend's out of settings and descriptors; they are the backend's, or closed.

The change is made in the hypervisor thread; it calls back with the nodes that tell the frontend.
"""


def _block(guest: Guest, _io: IoThread, settings: Body, fds: Sequence[int]) -> DeviceBackend:
    return BlockBackend(
        guest,
        settings["vdev"],
        image_of(settings, fds),
        read_only=not settings["writable"],
        cdrom=settings["cdrom"],
        discard=settings["discard"],
        sector_size=settings["sector_size"],
        local=settings["local"],
    )


def _change_block(
    backend: DeviceBackend, _io: IoThread, settings: Body, fds: Sequence[int]
) -> Callable[[Callable[[Nodes], None]], None]:
    """Another medium, or with the action ``measure`` a new look at the size of the one there is."""
    assert isinstance(backend, BlockBackend)
    if settings.get("action") == "measure":
        return lambda then: then(backend.measure())
    if "snapshot" in settings.get("action", ""):
        change_snapshot(backend.image, settings, fds)
        return lambda then: then({})
    image = image_of(settings, fds)
    return lambda then: backend.insert(image, then)


BACKENDS: dict[str, MakeBackend] = {
    disk.KIND: _block,
    vif.KIND: vif.make_vif,
    vif2.KIND: vif.make_vif2,
}
"""By kind of device, as in its paths in xenstore."""

CHANGES: dict[str, ChangeBackend] = {
    disk.KIND: _change_block,
    vif.KIND: vif.change_vif,
    vif2.KIND: vif.change_vif,
}
