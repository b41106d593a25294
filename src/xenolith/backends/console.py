"""The backend of a domain's PV console (public/io/console.h): what xenconsoled is to Xen."""

from __future__ import annotations

from collections.abc import Callable

from xenolith.abi.console import XENCONS_INTERFACE
from xenolith.backends.byte_ring import ByteRing, RingError
from xenolith.hypervisor.event_channel import BackendPort, EventChannelTable

_OFFSETS = XENCONS_INTERFACE.offsets
_INPUT_BYTES, _OUTPUT_BYTES = 1024, 2048


class ConsoleBackend:
    """Hands the guest's output to ``output`` at once; calls ``on_room`` when it may take input again."""

    def __init__(
        self,
        page: memoryview,
        events: EventChannelTable,
        output: Callable[[bytes], None],
        on_room: Callable[[], None],
    ) -> None:
        self._in = ByteRing(
            page, _OFFSETS["in_"], _INPUT_BYTES, _OFFSETS["in_cons"], _OFFSETS["in_prod"]
        )
        self._out = ByteRing(
            page, _OFFSETS["out"], _OUTPUT_BYTES, _OFFSETS["out_cons"], _OFFSETS["out_prod"]
        )
        self._output = output
        self._on_room = on_room
        self._port: BackendPort = events.connect_backend(self._notified)

    @property
    def port(self) -> int:
        """The guest's event channel."""
        return self._port.port

    def write_input(self, data: bytes) -> int:
        """Give the guest input; the number of bytes that fit. More fits when it has read some."""
        try:
            count = self._in.write(data)
        except RingError:
            self._in.reset()
            return 0
        if count:
            self._port.notify()
        return count

    def _notified(self) -> None:
        try:
            data = self._out.read(_OUTPUT_BYTES)
        except RingError:
            self._out.reset()
            data = b""
        if data:
            self._output(data)
            # The guest may be waiting for room.
            self._port.notify()
        self._on_room()
