"""A guest's side of the rings of console and xenstore: its page, its event channel, what it may do to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.hypervisor.event_channel import EventChannelTable
from xenolith.machine.address import PAGE_SIZE

WRAP = 1 << 32


@dataclass
class Vcpu:
    info: memoryview | None

    def wake(self) -> None:
        """It looks at its events when a test tells it to."""


@dataclass
class RingGuest:
    """The frontend of one page of rings, with one vCPU and a real table of event channels."""

    page: memoryview = field(default_factory=lambda: memoryview(bytearray(PAGE_SIZE)))
    shared_info: memoryview = field(default_factory=lambda: memoryview(bytearray(PAGE_SIZE)))

    def __post_init__(self) -> None:
        vcpu = Vcpu(self.shared_info[: VCPU_INFO.size])
        self.events = EventChannelTable(7, [vcpu], self.shared_info, lambda _gfn: self.page)

    def take_event(self, port: int) -> bool:
        """Whether the backend has notified the guest since the last time."""
        at = SHARED_INFO.offsets["evtchn_pending"] + port // 8
        pending = bool(self.shared_info[at] & 1 << port % 8)
        self.shared_info[at] &= ~(1 << port % 8) & 0xFF
        return pending

    def get(self, offset: int) -> int:
        return int.from_bytes(self.page[offset : offset + 4], "little")

    def put(self, offset: int, value: int) -> None:
        self.page[offset : offset + 4] = (value % WRAP).to_bytes(4, "little")

    def produce(self, ring: int, size: int, cons: int, prod: int, data: bytes) -> int:
        """Write as much as fits, as a frontend does; the number of bytes."""
        count = min(len(data), size - (self.get(prod) - self.get(cons)) % WRAP)
        for number in range(count):
            self.page[ring + (self.get(prod) + number) % size] = data[number]
        self.put(prod, self.get(prod) + count)
        return count

    def consume(self, ring: int, size: int, cons: int, prod: int) -> bytes:
        count = (self.get(prod) - self.get(cons)) % WRAP
        data = bytes(self.page[ring + (self.get(cons) + number) % size] for number in range(count))
        self.put(cons, self.get(cons) + count)
        return data
