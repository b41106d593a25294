"""The backend's end of a ring of slots in one page, as public/io/ring.h lays it out.

A slot holds a request, and later a response. What the guest may write is read once.
"""

from __future__ import annotations

from typing import Any

from xenolith.abi.layout import Layout
from xenolith.abi.ring import REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, SRING_HEAD_SIZE, slots
from xenolith.backends.net.errors import ProtocolError

_INDEX_MASK = 0xFFFFFFFF


class SlotRing:
    """Slots of ``slot_bytes`` in a shared page; the indices run freely, modulo 2**32."""

    def __init__(self, page: memoryview, slot_bytes: int) -> None:
        self._header = page[:16].cast("I")
        self._slot_bytes = slot_bytes
        self.size = slots(len(page), slot_bytes)
        """How many slots there are."""
        self._slots = page[SRING_HEAD_SIZE : SRING_HEAD_SIZE + self.size * slot_bytes]
        # A frontend that had another backend goes on where that one stopped.
        self._consumed = self._produced = self._header[RSP_PROD]

    def available(self) -> int:
        """How many requests wait; ProtocolError if there are more than slots."""
        requests = self._header[REQ_PROD]
        if requests - self._produced & _INDEX_MASK > self.size:
            raise ProtocolError(f"{requests - self._produced & _INDEX_MASK} requests at once")
        return requests - self._consumed & _INDEX_MASK

    def read(self, count: int) -> bytes:
        """Copy ``count`` waiting requests, which stay in the ring until they are consumed."""
        start = self._consumed % self.size
        first = min(count, self.size - start)
        size = self._slot_bytes
        data = bytes(self._slots[start * size : (start + first) * size])
        if first < count:
            data += bytes(self._slots[: (count - first) * size])
        return data

    def consume(self, count: int) -> None:
        """Take requests out of the ring; their slots are free for responses."""
        self._consumed = self._consumed + count & _INDEX_MASK

    def await_requests(self, count: int) -> bool:
        """Ask for an event when ``count`` requests wait; whether they do already."""
        self._header[REQ_EVENT] = self._consumed + count & _INDEX_MASK
        return self.available() >= count

    def respond(self, layout: Layout[Any], response: tuple[Any, ...]) -> None:
        """Put a response into the next slot; :meth:`push` shows it."""
        layout.pack_into(self._slots, self._produced % self.size * self._slot_bytes, response)
        self._produced = self._produced + 1 & _INDEX_MASK

    def push(self) -> bool:
        """Show the guest all responses; whether it wants an event for that."""
        old = self._header[RSP_PROD]
        self._header[RSP_PROD] = self._produced
        event = self._header[RSP_EVENT]
        return (self._produced - event & _INDEX_MASK) < (self._produced - old & _INDEX_MASK)
