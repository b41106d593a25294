"""A frontend for tests: a guest's memory, its grants, rings and event channels, as a driver would use them."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.grant_table import GRANT_ENTRY_V1, GrantEntryV1, GTF_permit_access, GTF_readonly
from xenolith.abi.netif import RX_REQUEST, RX_RESPONSE, TX_REQUEST, TX_RESPONSE, RxResponse
from xenolith.abi.ring import REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, SRING_HEAD_SIZE, slots
from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.backends.io_thread import IoThread
from xenolith.backends.net import Attachment, Line, VifBackend
from xenolith.backends.xenbus import DeviceBackend, Guest
from xenolith.hypervisor.event_channel import EventChannelTable
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.machine.address import PAGE_SIZE, Gfn, Mfn
from xenolith.machine.doze import Doze
from xenolith.machine.event_loop import EventLoop
from xenolith.machine.memory import MachineMemory
from xenolith.net.frame import NOTHING, Frame, Offload
from xenolith.net.token_bucket import TokenBucket
from xenolith.net.wire import MessageWire

RAM_FRAMES = 800
WRAP = 1 << 32
FEATURES = {
    "request-rx-copy": "1",
    "feature-rx-notify": "1",
    "feature-sg": "1",
    "feature-gso-tcpv4": "1",
    "feature-gso-tcpv6": "1",
    "feature-ipv6-csum-offload": "1",
}


@dataclass
class Vcpu:
    info: memoryview | None

    def wake(self) -> None:
        """It looks at its events when a test tells it to."""


class Memory:
    """GrantMemory: guest frames below RAM_FRAMES are machine frames of the same number."""

    def __init__(self, xen_frames: int) -> None:
        self.machine = MachineMemory(RAM_FRAMES + xen_frames)
        self._free = list(range(RAM_FRAMES, RAM_FRAMES + xen_frames))

    @property
    def free_frames(self) -> int:
        return len(self._free)

    def allocate_frame(self) -> Mfn:
        if not self._free:
            raise XenError(Errno.ENOMEM)
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

    def map_grant(self, gfn: Gfn, mfn: Mfn, readonly: bool) -> None:
        raise XenError(Errno.EINVAL)

    def unmap_grant(self, gfn: Gfn, mfn: Mfn) -> None:
        raise XenError(Errno.EINVAL)


class Loop(EventLoop):
    """The I/O thread's loop, which does something when a test lets it."""

    def step(self) -> bool:
        """Serve what is ready now; whether anything was."""
        ready = self._epoll.poll(0)
        for fd, events in ready:
            if fd in self._handlers:
                self._handlers[fd](events)
        return bool(ready)


class Ring:
    """A frontend's view of a ring."""

    def __init__(self, page: memoryview, slot_bytes: int) -> None:
        self.words = page[:16].cast("I")
        self.size = slots(PAGE_SIZE, slot_bytes)
        self.slot_bytes = slot_bytes
        self._page = page
        self.words[REQ_EVENT] = self.words[RSP_EVENT] = 1
        self.produced = 0
        self.consumed = 0

    def start_at(self, index: int) -> None:
        """Have the indices start elsewhere, as after many packets."""
        self.produced = self.consumed = index
        for word in (REQ_PROD, RSP_PROD):
            self.words[word] = index % WRAP
        for word in (REQ_EVENT, RSP_EVENT):
            self.words[word] = (index + 1) % WRAP

    def slot(self, index: int) -> memoryview:
        at = SRING_HEAD_SIZE + index % self.size * self.slot_bytes
        return self._page[at : at + self.slot_bytes]

    def put(self, data: bytes) -> None:
        self.slot(self.produced)[: len(data)] = data
        self.produced += 1

    def push(self) -> bool:
        """Show what was put; whether the backend wants to be told."""
        old = self.words[REQ_PROD]
        self.words[REQ_PROD] = self.produced % WRAP
        event = self.words[REQ_EVENT]
        return (self.produced - event) % WRAP < (self.produced - old) % WRAP

    def responses(self) -> list[bytes]:
        found = []
        while self.consumed % WRAP != self.words[RSP_PROD]:
            found.append(bytes(self.slot(self.consumed)))
            self.consumed += 1
        self.words[RSP_EVENT] = (self.consumed + 1) % WRAP
        return found


class WiredGuest:
    """A guest, and an attachment to a network; ``peer`` is the network's end of its wire."""

    def __init__(self, rate: TokenBucket | None = None, xen_frames: int = 8) -> None:
        self.memory = Memory(xen_frames)
        self.grants = GrantTable(7, self.memory)
        self.shared_info = memoryview(bytearray(PAGE_SIZE))
        vcpus = [Vcpu(self.shared_info[: VCPU_INFO.size])]
        self.events = EventChannelTable(
            7, vcpus, self.shared_info, lambda gfn: self.memory.frame(Mfn(gfn))
        )
        self.posted: deque[Callable[[], None]] = deque()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.log: list[str] = []
        self.guest = Guest(
            7,
            self.grants,
            self.events,
            self.posted.append,
            self.posted.append,
            self.log.append,
            self.log.append,
        )
        self._next_frame = 16
        self._next_ref = 8
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer = MessageWire(right.detach())
        self._peer_open = True
        self.loop = Loop()
        self.doze = Doze()
        self.attachment = Attachment(
            lambda when, call: self.timers.append((when, call)), rate, self.log.append
        )
        self.io = IoThread(self.loop, self.posted.append, self.doze)
        line = Line(self.io, MessageWire(left.detach()))
        self.attachment.plug(line)

    def shut(self, backend: DeviceBackend) -> None:
        """Disconnect and close the backend, and the network's end of the wire."""
        backend.disconnect(lambda: None)
        backend.close()
        self.hang_up()
        self.loop.step()
        self.loop.close()

    def hang_up(self) -> None:
        """Close the network's end of the wire."""
        if self._peer_open:
            self._peer_open = False
            self.peer.close()

    def new_frame(self) -> int:
        self._next_frame += 1
        return self._next_frame - 1

    def grant(self, gfn: int, flags: int = GTF_permit_access, domid: int = 0) -> int:
        ref = self._next_ref
        self._next_ref += 1
        self.set_entry(ref, gfn, flags, domid)
        return ref

    def set_entry(self, ref: int, gfn: int, flags: int, domid: int = 0) -> None:
        self.grants.grow(ref // 512 + 1)
        frame = self.memory.frame(self.grants.shared[ref // 512])
        GRANT_ENTRY_V1.pack_into(frame, ref % 512 * 8, GrantEntryV1(flags, domid, gfn))

    def take_event(self, port: int) -> bool:
        at = SHARED_INFO.offsets["evtchn_pending"] + port // 8
        pending = bool(self.shared_info[at] & 1 << port % 8)
        self.shared_info[at] &= ~(1 << port % 8) & 0xFF
        return pending

    def run(self) -> None:
        """Let the I/O thread look, and do what was posted, until nothing is left to do."""
        while self.posted or self.loop.step():
            if self.posted:
                self.posted.popleft()()

    def sent(self) -> Frame | None:
        frame = self.peer.receive()
        return None if frame is None else Frame(bytes(frame.data), frame.offload)

    def deliver(self, data: bytes, offload: Offload = NOTHING) -> None:
        assert self.peer.send([Frame(data, offload)]) == 1
        self.run()


class Netfront(WiredGuest):
    """A guest with a connected interface."""

    def __init__(
        self,
        *,
        features: dict[str, str] | None = None,
        rate: TokenBucket | None = None,
        queues: int = 1,
        start: int = 0,
        buffers: int = 64,
    ) -> None:
        super().__init__(rate)
        self.backend = VifBackend(self.guest, "vif7.0", self.attachment, 8)
        self.nodes = dict(FEATURES if features is None else features)
        self.tx: list[Ring] = []
        self.rx: list[Ring] = []
        self.tx_ports: list[int] = []
        self.rx_ports: list[int] = []
        self.rx_pages: list[dict[int, int]] = []
        if queues > 1:
            self.nodes["multi-queue-num-queues"] = str(queues)
        for number in range(queues):
            self._add_queue(f"queue-{number}/" if queues > 1 else "", start)
        for number in range(queues):
            self.offer(buffers, queue=number)
            self.rx[number].push()
        self.answer = self.backend.connect(self.nodes)
        self.run()

    def _add_queue(self, prefix: str, start: int) -> None:
        for kind, rings, ports, slot_bytes in (
            ("tx", self.tx, self.tx_ports, TX_REQUEST.size),
            ("rx", self.rx, self.rx_ports, RX_REQUEST.size),
        ):
            gfn = self.new_frame()
            ring = Ring(self.memory.frame(Mfn(gfn)), slot_bytes)
            ring.start_at(start)
            rings.append(ring)
            ports.append(self.events.alloc_unbound(0))
            self.nodes[f"{prefix}{kind}-ring-ref"] = str(self.grant(gfn))
            self.nodes[f"{prefix}event-channel-{kind}"] = str(ports[-1])
        self.rx_pages.append({})

    def close(self) -> None:
        self.shut(self.backend)

    # Transmitting

    def stretches(self, data: bytes, sizes: Sequence[int] = ()) -> list[tuple[int, int, int]]:
        """Put data into granted pages; (grant, offset, size) of each stretch."""
        made, at = [], 0
        sizes = sizes or [
            min(PAGE_SIZE, len(data) - start) for start in range(0, len(data), PAGE_SIZE)
        ]
        for size in sizes:
            gfn = self.new_frame()
            offset = PAGE_SIZE - size
            self.memory.frame(Mfn(gfn))[offset : offset + size] = data[at : at + size]
            made.append((self.grant(gfn, GTF_permit_access | GTF_readonly), offset, size))
            at += size
        return made

    def put_packet(
        self,
        data: bytes,
        flags: int = 0,
        extras: Sequence[bytes] = (),
        sizes: Sequence[int] = (),
        queue: int = 0,
    ) -> None:
        """Put a packet into the ring, ids counted from 100 on."""
        parts = self.stretches(data, sizes)
        ring = self.tx[queue]
        more = 4
        for number, (ref, offset, size) in enumerate(parts):
            last = number == len(parts) - 1
            own = (flags | (8 if extras else 0)) if number == 0 else 0
            total = len(data) if number == 0 else size
            self.put_tx(ref, offset, own | (0 if last else more), 100 + number, total, queue)
            if number == 0:
                for extra in extras:
                    ring.put(extra)

    def put_tx(
        self, ref: int, offset: int, flags: int, ident: int, size: int, queue: int = 0
    ) -> None:
        self.tx[queue].put(TX_REQUEST.pack((ref, offset, flags, ident, size)))  # type: ignore[arg-type]

    def kick(self, queue: int = 0) -> None:
        """Push the ring and send the event that the backend has asked for."""
        if self.tx[queue].push():
            self.events.send(self.tx_ports[queue])
        self.run()

    def tx_statuses(self, queue: int = 0) -> list[int]:
        return [TX_RESPONSE.unpack(slot).status for slot in self.tx[queue].responses()]

    def transmit(self, data: bytes, flags: int = 0, extras: Sequence[bytes] = ()) -> Frame | None:
        """Transmit a packet; the frame that reached the network."""
        self.put_packet(data, flags, extras)
        self.kick()
        return self.sent()

    # Receiving

    def offer(self, count: int, queue: int = 0) -> None:
        ring = self.rx[queue]
        for _ in range(count):
            gfn = self.new_frame()
            ident = ring.produced % ring.size
            ref = self.grant(gfn)
            self.rx_pages[queue][ident] = gfn
            ring.put(RX_REQUEST.pack((ident, 0, ref)))  # type: ignore[arg-type]

    def kick_rx(self, queue: int = 0) -> None:
        if self.rx[queue].push():
            self.events.send(self.rx_ports[queue])
        self.run()

    def received(self, queue: int = 0) -> list[tuple[bytes, int, list[bytes]]]:
        """The packets that have come: data, flags of the first response, extras."""
        ring, pages = self.rx[queue], self.rx_pages[queue]
        packets: list[tuple[bytes, int, list[bytes]]] = []
        at = ring.consumed
        slots_ = deque(ring.responses())
        while slots_:
            data, extras, flags, more = b"", [], 0, True
            first = True
            while more:
                response: RxResponse = RX_RESPONSE.unpack(slots_.popleft())
                assert response.id == at % ring.size
                at += 1
                if response.status < 0:
                    return [*packets, (b"", response.status, [])]
                page = self.memory.frame(Mfn(pages[response.id]))
                data += bytes(page[response.offset : response.offset + response.status])
                if first:
                    flags = response.flags
                    extra = flags & 8
                    while extra:
                        extras.append(slots_.popleft())
                        at += 1
                        extra = extras[-1][1] & 1
                    first = False
                more = bool(response.flags & 4)
            packets.append((data, flags & ~12, extras))
        return packets
