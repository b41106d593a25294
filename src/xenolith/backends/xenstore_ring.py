"""The ring by which a domain talks to xenstore (docs/misc/xenstore-ring.txt, public/io/xs_wire.h).

It carries two streams of bytes; whoever serves them knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi import xs_wire
from xenolith.abi.xs_wire import XENSTORE_DOMAIN_INTERFACE, ConnectionState
from xenolith.backends import byte_ring
from xenolith.backends.byte_ring import ByteRing
from xenolith.hypervisor.event_channel import BackendPort, EventChannelTable
from xenolith.xenstore.session import FEATURES

_OFFSETS = XENSTORE_DOMAIN_INTERFACE.offsets
_RING_BYTES = 1024


class XenstoreRing:
    """Calls ``activity`` whenever the guest has done something to the page.

    As with xenstored, a guest that breaks its ring's indices has no xenstore until it asks for a
    reset, which is granted by :meth:`reset` only.
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
        self._connection = _word(page, "connection")
        self._error = _word(page, "error")
        self.stopped = False
        """Nothing is read or written until the next reset."""
        self._connection[0] = ConnectionState.CONNECTED
        self._error[0] = xs_wire.RingError.NONE
        _word(page, "server_features")[0] = FEATURES
        self._port: BackendPort = events.connect_backend(activity)

    @property
    def port(self) -> int:
        """The guest's event channel."""
        return self._port.port

    @property
    def reset_wanted(self) -> bool:
        """Whether the guest waits for its connection to begin anew."""
        return self._connection[0] == ConnectionState.RECONNECT

    def read(self, limit: int) -> bytes:
        """Take at most ``limit`` bytes that the guest wrote; b"" where there are none."""
        if self.stopped:
            return b""
        try:
            data = self._req.read(limit)
        except byte_ring.RingError:
            self.stop(xs_wire.RingError.RINGIDX)
            return b""
        if data:
            self._port.notify()
        return data

    def write(self, data: bytes) -> int:
        """Give the guest as much of ``data`` as it has room for; the number of bytes."""
        if self.stopped:
            return 0
        try:
            count = self._rsp.write(data)
        except byte_ring.RingError:
            self.stop(xs_wire.RingError.RINGIDX)
            return 0
        if count:
            self._port.notify()
        return count

    def stop(self, error: xs_wire.RingError) -> None:
        """Have no more to do with the guest, and let it know why."""
        self.stopped = True
        self._error[0] = error
        self._port.notify()

    def reset(self) -> None:
        """Begin anew, with empty rings, as the guest wanted."""
        self._req.reset()
        self._rsp.reset()
        self.stopped = False
        self._error[0] = xs_wire.RingError.NONE
        self._connection[0] = ConnectionState.CONNECTED
        self._port.notify()


def _word(page: memoryview, field: str) -> memoryview:
    return page[_OFFSETS[field] : _OFFSETS[field] + 4].cast("I")
