"""The ring by which a domain talks to xenstore (docs/misc/xenstore-ring.txt, public/io/xs_wire.h).

It carries a stream of messages; whoever serves the stream knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE
from xenolith.backends.byte_ring import ByteRing, RingError
from xenolith.hypervisor.event_channel import BackendPort, EventChannelTable

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
_RING_BYTES = 1024


class XenstoreRing:
    """Hands requests to ``requests`` at once, and responses to the guest as it makes room."""

    def __init__(
        self, page: memoryview, events: EventChannelTable, requests: Callable[[bytes], None]
    ) -> None:
        self._req = ByteRing(
            page, _OFFSETS["req"], _RING_BYTES, _OFFSETS["req_cons"], _OFFSETS["req_prod"]
        )
        self._rsp = ByteRing(
            page, _OFFSETS["rsp"], _RING_BYTES, _OFFSETS["rsp_cons"], _OFFSETS["rsp_prod"]
        )
        self._requests = requests
        self._pending = bytearray()
        self._failed = False
        self._port: BackendPort = events.connect_backend(self._notified)

    @property
    def port(self) -> int:
        """The guest's event channel."""
        return self._port.port

    def respond(self, data: bytes) -> None:
        """Queue bytes for the guest."""
        self._pending += data
        self._flush()

    @property
    def backlog(self) -> int:
        """Bytes that wait for room in the ring: stop serving a guest that reads none."""
        return len(self._pending)

    def _notified(self) -> None:
        if self._failed:
            return
        try:
            data = self._req.read()
        except RingError:
            # As xenstored does: a guest that breaks its ring has no xenstore any more.
            self._failed = True
            return
        if data:
            self._requests(data)
            self._port.notify()
        self._flush()

    def _flush(self) -> None:
        if not self._pending or self._failed:
            return
        try:
            count = self._rsp.write(bytes(self._pending[:_RING_BYTES]))
        except RingError:
            self._failed = True
            return
        if count:
            del self._pending[:count]
            self._port.notify()
