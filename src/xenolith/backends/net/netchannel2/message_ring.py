"""The two directions of a pair of byte rings, as the backend's end has them (io/uring.h).

Indices count bytes and run freely, modulo 2**32. A message lies in one piece: in front of one that would
cross the ring's end there is padding. What the guest may write is read once.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.uring import (
    CONS,
    CONS_EVENT,
    MESSAGE_ALIGNMENT,
    MSG_HDR,
    NETCHANNEL2_MSG_PAD,
    PROD,
    PROD_EVENT,
    MsgHdr,
)
from xenolith.backends.net.errors import ProtocolError
from xenolith.machine.address import PAGE_SIZE

_INDEX_MASK = 0xFFFFFFFF


class RingBytes:
    """The bytes of a ring, in pages that need not follow each other."""

    def __init__(self, pages: Sequence[memoryview]) -> None:
        self._pages = pages
        self.size = len(pages) * PAGE_SIZE

    def read(self, index: int, size: int) -> bytes:
        """Copy a stretch that does not cross the ring's end."""
        page, offset = divmod(index % self.size, PAGE_SIZE)
        data = bytes(self._pages[page][offset : offset + size])
        while len(data) < size:
            page += 1
            data += bytes(self._pages[page][: size - len(data)])
        return data

    def write(self, index: int, data: bytes) -> None:
        """Fill such a stretch."""
        page, offset = divmod(index % self.size, PAGE_SIZE)
        first = min(len(data), PAGE_SIZE - offset)
        self._pages[page][offset : offset + first] = data[:first]
        for at in range(first, len(data), PAGE_SIZE):
            page += 1
            part = data[at : at + PAGE_SIZE]
            self._pages[page][: len(part)] = part


class MessageConsumer:
    """The direction in which the guest sends; ``words`` are the four of its Sring."""

    def __init__(self, words: memoryview, ring: RingBytes) -> None:
        self._words = words
        self._ring = ring
        self._consumed = words[CONS]
        """Beyond the shared index lies what is taken but not yet given back."""
        if self._consumed % MESSAGE_ALIGNMENT:
            raise ProtocolError(f"messages begin at byte {self._consumed}")

    def take(self) -> bytes | None:
        """The next message, header and all; None if there is none now. ProtocolError."""
        while True:
            waiting = self._words[PROD] - self._consumed & _INDEX_MASK
            if not waiting:
                return None
            header = self._header(waiting)
            message = self._ring.read(self._consumed, header.size)
            self._consumed = self._consumed + header.size & _INDEX_MASK
            if header.type != NETCHANNEL2_MSG_PAD:
                # The size may have been changed since it was checked.
                return MSG_HDR.pack(header) + message[MSG_HDR.size :]

    def finish(self) -> bool:
        """Give the ring's bytes back that were taken; whether the guest is to be told."""
        old = self._words[CONS]
        self._words[CONS] = self._consumed
        return _crosses(old, self._consumed, self._words[CONS_EVENT])

    def await_message(self) -> bool:
        """Ask for an event when there is a message; whether there is one already."""
        self._words[PROD_EVENT] = self._consumed + 1 & _INDEX_MASK
        return bool(self._words[PROD] != self._consumed)

    def _header(self, waiting: int) -> MsgHdr:
        """The next message's header, whose size is one that can be."""
        size = self._ring.size
        if waiting > size or waiting < MESSAGE_ALIGNMENT:
            raise ProtocolError(f"{waiting} bytes of messages in a ring of {size}")
        header = MSG_HDR.unpack(self._ring.read(self._consumed, MSG_HDR.size))
        if not header.size or header.size % MESSAGE_ALIGNMENT:
            raise ProtocolError(f"a message of {header.size} bytes")
        if header.size > waiting:
            raise ProtocolError(f"a message of {header.size} bytes, of which {waiting} are there")
        if self._consumed % size + header.size > size:
            raise ProtocolError("a message crosses the ring's end")
        return header


class MessageProducer:
    """The direction in which the backend sends.

    ``reserve`` bytes are kept for messages that must always find room.
    """

    def __init__(self, words: memoryview, ring: RingBytes, reserve: int) -> None:
        self._words = words
        self._ring = ring
        self._reserve = reserve
        self._produced = words[PROD]
        if self._produced % MESSAGE_ALIGNMENT:
            raise ProtocolError(f"messages begin at byte {self._produced}")

    def has_room(self, size: int) -> bool:
        """Whether a message of ``size`` bytes fits beside the reserve; if not, an event comes.

        ProtocolError.
        """
        needed = _rounded(size) + self._padding(size) + self._reserve
        if needed <= self._space():
            return True
        self._words[CONS_EVENT] = self._words[CONS] + 1 & _INDEX_MASK
        return needed <= self._space()

    def put(self, message: bytes) -> None:
        """Send a message, whose header is filled in except for its size; push() shows it.

        ProtocolError where there is no room, which for messages of the reserve is the guest's fault.
        """
        size = _rounded(len(message))
        padding = self._padding(size)
        if size + padding > self._space():
            raise ProtocolError("more packets are under way than were allowed")
        if padding:
            header = MSG_HDR.pack(MsgHdr(NETCHANNEL2_MSG_PAD, 0, padding))
            self._ring.write(self._produced, header)
            self._produced = self._produced + padding & _INDEX_MASK
        sized = MSG_HDR.pack(MSG_HDR.unpack(message)._replace(size=size))
        self._ring.write(self._produced, (sized + message[len(sized) :]).ljust(size, b"\0"))
        self._produced = self._produced + size & _INDEX_MASK

    def push(self) -> bool:
        """Show the guest all messages; whether it is to be told."""
        old = self._words[PROD]
        self._words[PROD] = self._produced
        return _crosses(old, self._produced, self._words[PROD_EVENT])

    def _space(self) -> int:
        used = self._produced - self._words[CONS] & _INDEX_MASK
        if used > self._ring.size:
            raise ProtocolError(f"{used} bytes of answers in a ring of {self._ring.size}")
        return self._ring.size - used

    def _padding(self, size: int) -> int:
        left = self._ring.size - self._produced % self._ring.size
        return left if size > left else 0


def _rounded(size: int) -> int:
    return -(-size // MESSAGE_ALIGNMENT) * MESSAGE_ALIGNMENT


def _crosses(old: int, new: int, event: int) -> bool:
    """Whether an index on its way from ``old`` to ``new`` comes to what an event was asked for."""
    return (new - event & _INDEX_MASK) < (new - old & _INDEX_MASK)
