"""A block frontend for tests, which also does what no driver does: rings, grants and requests at will."""

from __future__ import annotations

import errno
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xenolith.abi.blkif import (
    BLKIF_ABIS,
    SEGMENT,
    BlkifOp,
    BlkifRequest,
    BlkifRequestDiscard,
    BlkifRequestIndirect,
    BlkifRequestSegment,
    BlkifResponse,
)
from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import GRANT_ENTRY_V1, GrantEntryV1, GTF_permit_access, GTF_readonly
from xenolith.abi.ring import REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, SRING_HEAD_SIZE, slots
from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.backends.block import BlockBackend
from xenolith.backends.xenbus import Guest
from xenolith.hypervisor.event_channel import EventChannelTable
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.hypervisor.p2m import PlainRam
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn
from xenolith.machine.memory import MachineMemory
from xenolith.storage.open import open_image

DOMID = 5
RAM_FRAMES = 600
DATA = 64
"""The first frame for data: of grant reference DATA, as all frames are granted by their number."""
INDIRECT = 40
"""The frames for indirect segments."""
SECTORS = 4096
WRAP = 1 << 32

Segments = Sequence[tuple[int, int, int]]


@dataclass
class Vcpu:
    info: memoryview | None

    def wake(self) -> None:
        """It looks at its events when a test tells it to."""


class Memory:
    """GrantMemory: guest frames below RAM_FRAMES are machine frames of the same number."""

    def __init__(self) -> None:
        self.machine = MachineMemory(RAM_FRAMES + 8)
        self.invalidated: set[int] = set()
        self._free = list(range(RAM_FRAMES, RAM_FRAMES + 8))

    def allocate_frame(self) -> Mfn:
        return Mfn(self._free.pop())

    def free_frame(self, mfn: Mfn) -> None:
        self._free.append(mfn)

    def frame(self, mfn: Mfn) -> memoryview:
        return self.machine.frame(mfn)

    @property
    def view(self) -> memoryview:
        return self.machine.view

    def mfn_of(self, gfn: Gfn) -> Mfn | None:
        return Mfn(gfn) if gfn < RAM_FRAMES else None

    def gfn_of(self, mfn: Mfn) -> Gfn | None:
        return None

    def written(self, gfn: Gfn, count: int = 1) -> None:
        assert gfn + count <= RAM_FRAMES
        self.invalidated.update(range(gfn, gfn + count))

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        raise XenError(Errno.EINVAL)

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        raise XenError(Errno.EINVAL)


class FlakyImage:
    """An image in front of another: it can be slow, full, broken, or never in the page cache."""

    def __init__(self, path: Path) -> None:
        self._image = open_image(path, "raw", writable=True)
        self.read_only = False
        self.waits = False
        self.on_attempt: Callable[[], None] = lambda: None
        """Called by a read that finds out that it has to wait."""
        self.gate: queue.SimpleQueue[None] | None = None
        self.error: int | None = None
        self.delay = 0.0
        self.log: list[str] = []
        self.closed = False

    @property
    def size(self) -> int:
        return self._image.size

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        self._step("read")
        self._image.readv(buffers, offset)

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        if self.waits:
            self.on_attempt()
            return False
        self._fail()
        return self._image.readv_nowait(buffers, offset)

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        self._step("write")
        self._image.writev(buffers, offset)

    def write_zeroes(self, offset: int, length: int) -> None:
        self._step("zero")
        self._image.write_zeroes(offset, length)

    def discard(self, offset: int, length: int) -> None:
        self._step("discard")
        self._image.discard(offset, length)

    def flush(self) -> None:
        self._step("flush")
        self._image.flush()

    def close(self) -> None:
        self.closed = True
        self._image.close()

    def shut(self) -> queue.SimpleQueue[None]:
        """Let each step wait for an item in the queue that is returned."""
        self.gate = queue.SimpleQueue()
        return self.gate

    def _step(self, what: str) -> None:
        self.log.append(what)
        time.sleep(self.delay)
        if self.gate is not None:
            self.gate.get(timeout=10)
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))


class Frontend:
    """A guest with every frame granted to domain 0, one disk, and rings to it."""

    def __init__(self, path: Path, protocol: str = "x86_64-abi", **options: bool | int) -> None:
        self.memory = Memory()
        self.shared_info = memoryview(bytearray(PAGE_SIZE))
        vcpu = Vcpu(self.shared_info[: VCPU_INFO.size])
        self.events = EventChannelTable(DOMID, [vcpu], self.shared_info, self._frame)
        ram = [PlainRam(Gfn(0), Mfn(0), RAM_FRAMES, bytearray(RAM_FRAMES))]
        self.grants = GrantTable(DOMID, self.memory, 4, ram=ram)
        self.grants.grow(2)
        self.posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.lines: list[str] = []
        self.holds: list[str] = []
        self.deferred: list[Callable[[], None]] = []
        self.guest = Guest(
            DOMID,
            self.grants,
            self.events,
            self.posted.put,
            self.deferred.append,
            self.lines.append,
            self.holds.append,
        )
        for ref in range(8, RAM_FRAMES):
            self.grant(ref, ref)
        self.abi = BLKIF_ABIS[protocol]
        self.protocol = protocol
        self.image = FlakyImage(path)
        options = {"local": False, **options}
        self.backend = BlockBackend(self.guest, "xvda", self.image, **options)  # type: ignore[arg-type]
        self.rings: list[FrontRing] = []

    def _frame(self, gfn: Gfn) -> memoryview:
        return self.memory.frame(Mfn(gfn))

    def grant(self, ref: int, frame: int, flags: int = GTF_permit_access) -> None:
        page = self.memory.frame(self.grants.shared[ref // 512])
        GRANT_ENTRY_V1.pack_into(page, ref % 512 * 8, GrantEntryV1(flags, 0, frame))

    def grant_readonly(self, ref: int) -> None:
        self.grant(ref, ref, GTF_permit_access | GTF_readonly)

    def offer(
        self, queues: int = 1, pages: int = 1, nodes: dict[str, str] | None = None
    ) -> dict[str, str]:
        """Make rings; the nodes that tell the backend of them."""
        self.rings = [FrontRing(self, 8 + 16 * each, pages) for each in range(queues)]
        offer = {"protocol": self.protocol, **(nodes or {})}
        if queues > 1:
            offer["multi-queue-num-queues"] = str(queues)
        for number, ring in enumerate(self.rings):
            prefix = f"queue-{number}/" if queues > 1 else ""
            offer[f"{prefix}event-channel"] = str(ring.port)
            for page in range(pages):
                name = f"ring-ref{page}" if pages > 1 else "ring-ref"
                offer[f"{prefix}{name}"] = str(ring.refs[page])
        return offer

    def connect(
        self, queues: int = 1, pages: int = 1, nodes: dict[str, str] | None = None
    ) -> dict[str, str]:
        order = {"ring-page-order": str(pages.bit_length() - 1)} if pages > 1 else {}
        return dict(self.backend.connect(self.offer(queues, pages, {**order, **(nodes or {})})))

    def data(self, frame: int = DATA, count: int = 1) -> memoryview:
        return self.memory.view[frame * PAGE_SIZE : (frame + count) * PAGE_SIZE]

    def turn(self) -> bool:
        """Make one posted call, if there is one."""
        try:
            self.posted.get_nowait()()
        except queue.Empty:
            return False
        return True

    def wait(self) -> None:
        """Go to sleep, until the next call that a worker is about to post."""
        if self.deferred:
            self.deferred.pop(0)()
            return
        self.posted.get(timeout=10)()

    def disconnect(self) -> bool:
        """Close the connection; whether that is done already."""
        done: list[bool] = []
        self.backend.disconnect(lambda: done.append(True))
        return bool(done)

    def close(self) -> None:
        """The end of the domain; the pins are all gone if the device was disconnected."""
        self.image.gate = None
        self.backend.close()


class FrontRing:
    """The frontend's end of one ring, in ``pages`` frames that do not follow one another."""

    def __init__(self, frontend: Frontend, first: int, pages: int) -> None:
        self.frontend = frontend
        self.refs = [first + page for page in range(pages)][::-1]
        self.port = frontend.events.alloc_unbound(remote_domid=0)
        self._pages = [frontend.memory.frame(Mfn(ref)) for ref in self.refs]
        for page in self._pages:
            page[:] = bytes(PAGE_SIZE)
        self.indices = self._pages[0][:16].cast("I")
        self.indices[REQ_EVENT] = self.indices[RSP_EVENT] = 1
        self.size = slots(pages * PAGE_SIZE, frontend.abi.request.size)
        self._seen = 0

    def put(self, data: bytes) -> None:
        """Write a request into the next slot and count it."""
        produced = self.indices[REQ_PROD]
        start = SRING_HEAD_SIZE + produced % self.size * self.frontend.abi.request.size
        for at, byte in enumerate(data, start):
            self._pages[at // PAGE_SIZE][at % PAGE_SIZE] = byte
        self.indices[REQ_PROD] = (produced + 1) % WRAP

    def kick(self) -> None:
        self.frontend.events.send(self.port)

    def direct(self, operation: int, sector: int, segments: Segments, number: int = 7) -> None:
        raw = b"".join(SEGMENT.pack(BlkifRequestSegment(*segment)) for segment in segments)
        request = BlkifRequest(
            operation, len(segments), 0, number, sector, raw[:88].ljust(88, b"\0")
        )
        self.put(self.frontend.abi.request.pack(request))

    def indirect(
        self,
        operation: int,
        sector: int,
        segments: Segments,
        number: int = 7,
        count: int | None = None,
    ) -> None:
        raw = b"".join(SEGMENT.pack(BlkifRequestSegment(*segment)) for segment in segments)
        pages = -(-len(raw) // PAGE_SIZE)
        self.frontend.data(INDIRECT, 8)[: len(raw)] = raw
        refs = tuple(INDIRECT + page if page < pages else 0 for page in range(8))
        count = len(segments) if count is None else count
        request = BlkifRequestIndirect(BlkifOp.INDIRECT, operation, count, number, sector, 0, refs)
        self.put(self.frontend.abi.indirect.pack(request))

    def discard(self, sector: int, sectors: int, flag: int = 0, number: int = 7) -> None:
        request = BlkifRequestDiscard(BlkifOp.DISCARD, flag, 0, number, sector, sectors)
        self.put(self.frontend.abi.discard.pack(request))

    def responses(self) -> list[BlkifResponse]:
        """The responses that have come since the last look."""
        layout, found = self.frontend.abi.response, []
        while self._seen != self.indices[RSP_PROD]:
            start = SRING_HEAD_SIZE + self._seen % self.size * self.frontend.abi.request.size
            raw = bytes(
                self._pages[at // PAGE_SIZE][at % PAGE_SIZE]
                for at in range(start, start + layout.size)
            )
            found.append(layout.unpack(raw))
            self._seen = (self._seen + 1) % WRAP
        self.indices[RSP_EVENT] = (self._seen + 1) % WRAP
        return found

    def answer(self) -> BlkifResponse:
        """Kick, and wait for the one response."""
        self.kick()
        found = self.responses()
        while not found:
            self.frontend.wait()
            found = self.responses()
        (response,) = found
        return response

    def take_event(self) -> bool:
        """Whether the backend has notified us since the last time."""
        at = SHARED_INFO.offsets["evtchn_pending"] + self.port // 8
        info = self.frontend.shared_info
        pending = bool(info[at] & 1 << self.port % 8)
        info[at] &= ~(1 << self.port % 8) & 0xFF
        return pending


FULL = errno.ENOSPC
BROKEN = errno.EIO
