"""The ring by which a domain talks to xenstore (docs/misc/xenstore-ring.txt, public/io/xs_wire.h).

It carries two streams of bytes; whoever serves them knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE
from xenolith.backends.byte_ring import ByteRing, RingError
from xenolith.hypervisor.event_channel import BackendPort, EventChannelTable

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
_RING_BYTES = 1024


class XenstoreRing:
    """Calls ``activity`` whenever the guest has written a request or made room for a response.

    As with xenstored, a guest that breaks its ring's indices has no xenstore from then on.
    """

    def __init__(
        self, page: memoryview, events: EventChannelTable, activity: Callable[[], None]
    ) -> None:
        self._req = ByteRing(
            page, _OFFSETS["req"], _RING_BYTES, _OFFSETS["req_cons"], _OFFSETS["req_prod"]
        )
        self._rsp = ByteRing(
            page, _OFFSETS["rsp"], _RING_BYTES, _OFFSETS["rsp_cons"], _OFFSETS["rsp_prod"]
        )
        self._broken = False
        self._port: BackendPort = events.connect_backend(activity)

    @property
    def port(self) -> int:
        """The guest's event channel."""
        return self._port.port

    def read(self, limit: int) -> bytes:
        """Take at most ``limit`` bytes that the guest wrote; b"" where there are none."""
        if self._broken:
            return b""
        try:
            data = self._req.read(limit)
        except RingError:
            self._broken = True
            return b""
        if data:
            self._port.notify()
        return data

    def write(self, data: bytes) -> int:
        """Give the guest as much of ``data`` as it has room for; the number of bytes."""
        if self._broken:
            return 0
        try:
            count = self._rsp.write(data)
        except RingError:
            self._broken = True
            return 0
        if count:
            self._port.notify()
        return count
