"""One queue of an interface: a ring each way, and the event channels that belong to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xenolith.backends.net.multicast import MulticastFilter
from xenolith.backends.net.receive import Receiver
from xenolith.backends.net.transmit import Transmitter
from xenolith.backends.xenbus import Guest, Nodes, XenbusError, number
from xenolith.hypervisor.event_channel import BackendPort
from xenolith.hypervisor.grant_table import GrantMapping

_DOMAIN_0 = 0


class QueueOffer(NamedTuple):
    """Where a frontend has a queue: grant references and event channels, alike if not split."""

    tx_ref: int
    rx_ref: int
    tx_port: int
    rx_port: int


def queue_offers(frontend: Nodes, max_queues: int) -> list[QueueOffer]:
    """The queues that a frontend offers; XenbusError."""
    count = number(frontend, "multi-queue-num-queues", 1)
    if not 1 <= count <= max_queues:
        raise XenbusError(f"{count} queues are not between 1 and {max_queues}")
    if count == 1:
        return [_offer(frontend, "")]
    return [_offer(frontend, f"queue-{index}/") for index in range(count)]


def _offer(frontend: Nodes, prefix: str) -> QueueOffer:
    refs = (number(frontend, f"{prefix}tx-ring-ref"), number(frontend, f"{prefix}rx-ring-ref"))
    if f"{prefix}event-channel" in frontend:
        port = number(frontend, f"{prefix}event-channel")
        return QueueOffer(*refs, port, port)
    return QueueOffer(
        *refs,
        number(frontend, f"{prefix}event-channel-tx"),
        number(frontend, f"{prefix}event-channel-rx"),
    )


class Queue:
    """A queue that is mapped; GrantError if its rings cannot be."""

    def __init__(self, guest: Guest, offer: QueueOffer, multicast: MulticastFilter) -> None:
        self._guest = guest
        self._offer = offer
        self._mappings: list[GrantMapping] = []
        self._ports: list[BackendPort] = []
        self.transmitter = Transmitter(self._map(offer.tx_ref), guest.grants, multicast)
        try:
            self.receiver = Receiver(self._map(offer.rx_ref), guest.grants)
        except Exception:
            self.close()
            raise

    def bind(self, transmit: Callable[[], None], receive: Callable[[], None]) -> None:
        """Have calls made for the guest's events; XenError if its channels are not there."""
        bind = self._guest.event_channels.bind_backend
        if self._offer.tx_port == self._offer.rx_port:

            def both() -> None:
                transmit()
                receive()

            self._ports = [bind(self._offer.tx_port, _DOMAIN_0, both)] * 2
            return
        self._ports = [bind(self._offer.tx_port, _DOMAIN_0, transmit)]
        self._ports.append(bind(self._offer.rx_port, _DOMAIN_0, receive))

    def push_transmitted(self) -> None:
        """Show the guest what was done with its transmit slots."""
        if self.transmitter.ring.push():
            self._ports[0].notify()

    def push_received(self) -> None:
        """Show the guest what it has received."""
        if self.receiver.ring.push():
            self._ports[-1].notify()

    def close(self) -> None:
        """Give the guest back what is its."""
        for port in self._ports:
            port.close()
        for mapping in self._mappings:
            mapping.unmap()
        self._ports, self._mappings = [], []

    def _map(self, ref: int) -> memoryview:
        mapping = self._guest.grants.map(ref, _DOMAIN_0, False)
        self._mappings.append(mapping)
        return mapping.view
