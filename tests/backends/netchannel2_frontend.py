"""A frontend of netchannel2 for tests, written after the protocol's headers and not after our backend."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from netfront import WRAP, WiredGuest

from xenolith.abi.grant_table import GTF_permit_access, GTF_readonly
from xenolith.backends.net.netchannel2 import Vif2Backend
from xenolith.machine.address import PAGE_SIZE, Mfn
from xenolith.net.token_bucket import TokenBucket

PROD, CONS, PROD_EVENT, CONS_EVENT = range(4)
PAD = 255
COPY, MAP, SMALL = 1, 3, 4


class Message(NamedTuple):
    type: int
    body: bytes
    """All but the header of 4 bytes."""


class Received(NamedTuple):
    """A packet that the guest was sent."""

    data: bytes
    id: int
    type: int
    flags: int
    segmentation: int
    mss: int
    csum_start: int
    csum_offset: int
    refs: list[int]


class Direction:
    """One ring as its producer or consumer in the guest sees it."""

    def __init__(self, words: memoryview, pages: Sequence[memoryview]) -> None:
        self.words = words
        self._pages = pages
        self.size = len(pages) * PAGE_SIZE

    def write(self, index: int, data: bytes) -> None:
        for at, byte in enumerate(data, index):
            page, offset = divmod(at % self.size, PAGE_SIZE)
            self._pages[page][offset] = byte

    def read(self, index: int, size: int) -> bytes:
        return bytes(
            self._pages[at % self.size // PAGE_SIZE][at % PAGE_SIZE]
            for at in range(index, index + size)
        )


class Pair:
    """A pair of rings of the guest's."""

    def __init__(self, front: Front, prefix: str, order: int, start: int) -> None:
        self._front = front
        control = front.new_frame()
        words = front.memory.frame(Mfn(control))[:128].cast("I")
        frames = {side: [front.new_frame() for _ in range(1 << order)] for side in ("prod", "cons")}
        views = {
            side: [front.memory.frame(Mfn(gfn)) for gfn in gfns] for side, gfns in frames.items()
        }
        self.out = Direction(words[:4], views["prod"])
        self.into = Direction(words[16:20], views["cons"])
        for direction in (self.out, self.into):
            for word in (PROD, CONS):
                direction.words[word] = start % WRAP
            for word in (PROD_EVENT, CONS_EVENT):
                direction.words[word] = (start + 1) % WRAP
        self.produced = self.consumed = start
        self.port = front.events.alloc_unbound(0)
        readonly = GTF_permit_access | GTF_readonly
        front.nodes[f"{prefix}control-gref"] = str(front.grant(control))
        front.nodes[f"{prefix}event-channel"] = str(self.port)
        for side, flags in (("prod", readonly), ("cons", GTF_permit_access)):
            front.nodes[f"{prefix}{side}-order"] = str(order)
            for index, gfn in enumerate(frames[side]):
                front.nodes[f"{prefix}{side}-gref-{index}"] = str(front.grant(gfn, flags))

    def send(self, kind: int, body: bytes, size: int | None = None) -> None:
        """Put a message into the ring, ``size`` only where it is to lie; shown by kick()."""
        length = -(-(4 + len(body)) // 8) * 8
        left = self.out.size - self.produced % self.out.size
        if length > left:
            self.out.write(self.produced, struct.pack("<BBH", PAD, 0, left))
            self.produced += left
        header = struct.pack("<BBH", kind, 0, length if size is None else size)
        self.out.write(self.produced, (header + body).ljust(length, b"\0"))
        self.produced += length

    def push(self) -> bool:
        """Show what was sent; whether the backend wants to be told."""
        old = self.out.words[PROD]
        self.out.words[PROD] = self.produced % WRAP
        event = self.out.words[PROD_EVENT]
        return (self.produced - event) % WRAP < (self.produced - old) % WRAP

    def messages(self) -> list[Message]:
        """Take all messages; the backend is told if it waits for room."""
        found = []
        old = self.consumed
        while self.consumed % WRAP != self.into.words[PROD]:
            kind, _, size = struct.unpack("<BBH", self.into.read(self.consumed, 4))
            assert size and size % 8 == 0
            assert self.consumed % self.into.size + size <= self.into.size
            if kind != PAD:
                found.append(Message(kind, self.into.read(self.consumed + 4, size - 4)))
            self.consumed += size
        self.into.words[CONS] = self.consumed % WRAP
        self.into.words[PROD_EVENT] = (self.consumed + 1) % WRAP
        event = self.into.words[CONS_EVENT]
        if (self.consumed - event) % WRAP < (self.consumed - old) % WRAP:
            self._front.events.send(self.port)
            self._front.run()
        return found


class Front(WiredGuest):
    """A guest with a connected interface of class vif2."""

    def __init__(
        self,
        *,
        order: int = 0,
        start: int = 0,
        queues: int = 1,
        rate: TokenBucket | None = None,
        own_address: bytes | None = None,
        xen_frames: int = 200,
        greet: bool = True,
        max_packets: int = 200,
        max_fragments: int = 18,
        offload: bool = True,
    ) -> None:
        super().__init__(rate, xen_frames)
        self.backend = Vif2Backend(self.guest, "vif7.0", self.attachment, 8, own_address)
        self.nodes: dict[str, str] = {}
        if queues > 1:
            self.nodes["multi-queue-num-queues"] = str(queues)
        self.pairs = [
            Pair(self, f"queue-{number}/" if queues > 1 else "", order, start)
            for number in range(queues)
        ]
        self.answers: list[list[Message]] = [[] for _ in self.pairs]
        if greet:
            for pair in self.pairs:
                pair.send(1, struct.pack("<I", max_packets))
                pair.send(5, struct.pack("<I", max_fragments))
                pair.send(4, struct.pack("<BBH", offload, offload, 0))
                pair.push()
        self.features = self.backend.features()
        self.answer = self.backend.connect(self.nodes)
        self.run()

    def close(self) -> None:
        self.shut(self.backend)

    @property
    def is_disabled(self) -> bool:
        return any("fatal error" in line for line in self.log)

    def send(self, kind: int, body: bytes, size: int | None = None, queue: int = 0) -> None:
        """Send a message and have the backend look."""
        self.pairs[queue].send(kind, body, size)
        self.kick(queue)

    def kick(self, queue: int = 0) -> None:
        if self.pairs[queue].push():
            self.events.send(self.pairs[queue].port)
        self.run()

    # Transmitting

    def fragments(self, data: bytes, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
        """Put data into granted pages, at their ends; (size, offset, grant) of each."""
        made, at = [], 0
        for size in sizes:
            gfn = self.new_frame()
            offset = PAGE_SIZE - size
            self.memory.frame(Mfn(gfn))[offset:] = data[at : at + size]
            made.append((size, offset, self.grant(gfn, GTF_permit_access | GTF_readonly)))
            at += size
        return made

    def packet(
        self,
        data: bytes,
        *,
        ident: int = 1,
        kind: int = MAP,
        flags: int = 0,
        segmentation: int = 0,
        prefix: int = 100,
        mss: int = 0,
        csum: tuple[int, int] = (0, 0),
        fragments: Sequence[tuple[int, int, int]] | None = None,
    ) -> bytes:
        """The body of a PACKET message; what is not prefix goes into pages."""
        if kind == SMALL:
            prefix = len(data)
        if fragments is None:
            rest = data[prefix:]
            sizes = [min(PAGE_SIZE, len(rest) - at) for at in range(0, len(rest), PAGE_SIZE)]
            fragments = self.fragments(rest, sizes)
        head = struct.pack(
            "<IBBBBHHHH", ident, kind, flags, segmentation, 0, min(prefix, len(data)), mss, *csum
        )
        return head + b"".join(struct.pack("<HHI", *each) for each in fragments) + data[:prefix]

    def transmit(self, data: bytes, queue: int = 0, **options: object) -> None:
        """Send a packet."""
        self.send(2, self.packet(data, **options), queue=queue)  # type: ignore[arg-type]

    def finished(self, queue: int = 0) -> list[int]:
        """The numbers of the packets that the backend has finished since the last time."""
        return [struct.unpack("<I", message.body)[0] for message in self._take(queue, 3)]

    # Receiving

    def received(self, queue: int = 0, *, finish: bool = True) -> list[Received]:
        """The packets that have come, each finished at once if it has to be."""
        found = []
        for message in self._take(queue, 2):
            body = message.body
            fields = struct.unpack_from("<IBBBxHHHH", body)
            ident, kind, flags, segmentation, prefix, mss, start, offset = fields
            count = (len(body) - 16 - prefix) // 8
            refs, data = [], body[16 + 8 * count : 16 + 8 * count + prefix]
            for index in range(count):
                size, at, ref = struct.unpack_from("<HHI", body, 16 + 8 * index)
                data += self.granted(ref)[at : at + size]
                refs.append(ref)
            found.append(Received(data, ident, kind, flags, segmentation, mss, start, offset, refs))
            if finish and kind != SMALL:
                self.pairs[queue].send(3, struct.pack("<I", ident))
        self.kick(queue)
        return found

    def granted(self, ref: int) -> bytes:
        """A page that domain 0 grants, as GNTTABOP_copy reads it."""
        active = self.grants.backends.pin(ref, 7, True, 0)
        data = bytes(self.memory.frame(active.mfn))
        self.grants.backends.unpin(active, True)
        return data

    def others(self, queue: int = 0) -> list[Message]:
        """Messages but PACKET and FINISH_PACKET."""
        self._collect(queue)
        found = [message for message in self.answers[queue] if message.type not in (2, 3)]
        self.answers[queue] = [each for each in self.answers[queue] if each.type in (2, 3)]
        return found

    def _take(self, queue: int, kind: int) -> list[Message]:
        self._collect(queue)
        found = [message for message in self.answers[queue] if message.type == kind]
        self.answers[queue] = [each for each in self.answers[queue] if each.type != kind]
        return found

    def _collect(self, queue: int) -> None:
        while messages := self.pairs[queue].messages():
            self.answers[queue] += messages
