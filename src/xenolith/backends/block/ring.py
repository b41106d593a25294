"""The backend's end of a ring of requests and responses, as the macros of public/io/ring.h work it.

Its pages need not follow one another in memory, so a slot may lie in two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.ring import REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, SRING_HEAD_SIZE, slots
from xenolith.machine.address import PAGE_SIZE

_INDEX_MASK = 0xFFFFFFFF


class RingError(Exception):
    """The frontend's index has run away: there are more requests than slots."""


class BackRing:
    """A ring over frames of the guest's, with slots of ``slot_size`` bytes; RingError if it is broken.

    What the guest may write is read once. Indices run freely, modulo 2**32.
    """

    def __init__(self, pages: Sequence[memoryview], slot_size: int) -> None:
        self._pages = pages
        self._indices = pages[0][:16].cast("I")
        self._slot_size = slot_size
        self.size = slots(len(pages) * PAGE_SIZE, slot_size)
        # A frontend that had another backend goes on where that one stopped.
        self._consumed = self._produced = self._indices[RSP_PROD]
        self.available()

    def available(self) -> int:
        """How many requests wait; RingError."""
        requests = self._indices[REQ_PROD]
        if requests - self._produced & _INDEX_MASK > self.size:
            raise RingError(f"{requests - self._produced & _INDEX_MASK} requests at once")
        return requests - self._consumed & _INDEX_MASK

    def take(self) -> bytes:
        """A copy of the next request, which there is."""
        offset = SRING_HEAD_SIZE + self._consumed % self.size * self._slot_size
        self._consumed = self._consumed + 1 & _INDEX_MASK
        page, start = divmod(offset, PAGE_SIZE)
        copy = bytes(self._pages[page][start : start + self._slot_size])
        if len(copy) < self._slot_size:
            copy += bytes(self._pages[page + 1][: self._slot_size - len(copy)])
        return copy

    def await_request(self) -> bool:
        """Ask for an event when the next request comes; whether one has come already. RingError."""
        self._indices[REQ_EVENT] = self._consumed + 1 & _INDEX_MASK
        return self.available() > 0

    def respond(self, response: bytes) -> None:
        """Put a response into the next slot; :meth:`push` shows it."""
        offset = SRING_HEAD_SIZE + self._produced % self.size * self._slot_size
        self._produced = self._produced + 1 & _INDEX_MASK
        page, start = divmod(offset, PAGE_SIZE)
        room = min(len(response), PAGE_SIZE - start)
        self._pages[page][start : start + room] = response[:room]
        if room < len(response):
            self._pages[page + 1][: len(response) - room] = response[room:]

    def push(self) -> bool:
        """Show the guest all responses; whether it wants an event for that."""
        old = self._indices[RSP_PROD]
        self._indices[RSP_PROD] = self._produced
        event = self._indices[RSP_EVENT]
        return (self._produced - event & _INDEX_MASK) < (self._produced - old & _INDEX_MASK)
