"""All devices of a domain that backends in its process serve, by kind and number.

The paths are those of docs/misc/xenstore-paths.pandoc; the toolstack makes and removes the
directories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xenolith.backends.xenbus.device import Device, DeviceBackend
from xenolith.backends.xenbus.guest import Guest
from xenolith.backends.xenbus.nodes import Nodes
from xenolith.backends.xenbus.store_client import StoreClient


class Xenbus:
    """The bus of one domain, in its hypervisor thread."""

    def __init__(self, guest: Guest, store: StoreClient) -> None:
        self._guest = guest
        self._store = store
        self._devices: dict[tuple[str, int], Device] = {}

    def __iter__(self) -> Iterator[Device]:
        return iter(self._devices.values())

    def add(self, kind: str, devid: int, backend: DeviceBackend) -> Device:
        """Serve a device whose directories exist; ``kind`` is ``vbd``, ``vif``...; ValueError if there."""
        if (kind, devid) in self._devices:
            raise ValueError(f"there is a {kind} {devid} already")
        domid = self._guest.domid
        device = self._devices[kind, devid] = Device(
            self._store,
            f"/local/domain/0/backend/{kind}/{domid}/{devid}",
            f"/local/domain/{domid}/device/{kind}/{devid}",
            backend,
            self._guest.log,
        )
        device.start()
        return device

    def find(self, kind: str, devid: int) -> Device:
        """A device; ValueError if there is none."""
        try:
            return self._devices[kind, devid]
        except KeyError:
            raise ValueError(f"there is no {kind} {devid}") from None

    def of_kind(self, kind: str) -> list[tuple[int, Device]]:
        """All devices of a kind, each with its number."""
        return [(devid, device) for (of, devid), device in self._devices.items() if of == kind]

    def update(self, kind: str, devid: int, nodes: Nodes) -> None:
        """Write nodes and have the frontend look at them; ValueError if there is no such device."""
        self.find(kind, devid).update(nodes)

    def remove(self, kind: str, devid: int, then: Callable[[], None]) -> None:
        """Serve a device no more; ``then`` is called when it holds nothing. ValueError if there is none."""
        device = self.find(kind, devid)
        del self._devices[kind, devid]
        device.remove(then)

    def resumed(self) -> None:
        """The domain runs again after it was held."""
        for device in list(self):
            device.backend.resumed()
