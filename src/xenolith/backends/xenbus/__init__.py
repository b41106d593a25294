"""What all PV backends share: the handshake of public/io/xenbus.h with their frontends, over xenstore.

A backend serves one device of one guest. It implements :class:`DeviceBackend`::

    class EchoBackend(DeviceBackend):
        def __init__(self, guest: Guest) -> None: ...

        def features(self) -> Nodes:             # written before InitWait
            return {"feature-echo": "1"}

        def connect(self, frontend: Nodes) -> Nodes:
            ref, port = number(frontend, "ring-ref"), number(frontend, "event-channel")
            self._ring = self._guest.grants.map(ref, 0, readonly=False)
            self._port = self._guest.event_channels.bind_backend(port, 0, self._look)
            self._look()                         # what was sent before the binding was dropped
            return {"echo-size": "64"}           # written before Connected

        def disconnect(self, then: Callable[[], None]) -> None:
            ...                                  # let I/O finish, then close the port, unmap, and
            then()                               # say so; at once where nothing is connected

        def close(self) -> None: ...             # the device is gone: release files, sockets

``Xenbus.add(kind, devid, backend)`` gives it to the domain's bus, which makes a :class:`Device` of
it. The device watches the frontend's state and calls the backend::

    frontend      device                                            backend
    Initialising  writes features(), state InitWait
    Initialised   reads the frontend's nodes; ───────────────────▶  connect(frontend)
    Connected     writes what it returns, state Connected
    Closing       ────────────────────────────────────────────────▶ disconnect(then)
    Closed        state Closed once ``then`` was called; Initialising begins anew

Everything here runs in the hypervisor thread, except for :meth:`StoreClient.connect`, and
everything that a frontend writes is hostile: ``connect`` raises :class:`XenbusError` for what makes
no sense (XenError and GrantError will do as well), upon which the device is closed with the reason in
the hypervisor's log. The bus lives in the domain's process and survives the daemon: its
:class:`StoreClient` is given a new connection, sends again what was not answered, sets its watches
anew, and every device looks again.
"""

from xenolith.backends.xenbus.bus import Xenbus
from xenolith.backends.xenbus.device import Device, DeviceBackend
from xenolith.backends.xenbus.errors import XenbusError
from xenolith.backends.xenbus.guest import Guest
from xenolith.backends.xenbus.nodes import Nodes, flag, number
from xenolith.backends.xenbus.store_client import StoreClient

__all__ = [
    "Device",
    "DeviceBackend",
    "Guest",
    "Nodes",
    "StoreClient",
    "Xenbus",
    "XenbusError",
    "flag",
    "number",
]
