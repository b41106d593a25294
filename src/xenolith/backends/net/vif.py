"""One network interface: its handshake with the frontend, its queues, and the way of each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from xenolith.backends.net.attachment import Attachment, report_network
from xenolith.backends.net.control import ControlRing
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.multicast import MulticastFilter
from xenolith.backends.net.queue import Queue, queue_offers
from xenolith.backends.net.receive import FrameHash
from xenolith.backends.net.steering import Steering
from xenolith.backends.xenbus import Guest, Nodes, XenbusError, flag
from xenolith.backends.xenbus.device import DeviceBackend
from xenolith.net.errors import FrameError
from xenolith.net.frame import MAX_FRAME, Frame
from xenolith.net.software_offload import Ability, settle

_MULTICAST = "request-multicast-control"


class _Arrival(NamedTuple):
    """A frame for the guest, its queue and its hash."""

    frame: Frame
    queue: Queue
    hash: FrameHash | None


class VifBackend(DeviceBackend):
    """Implements xenbus.DeviceBackend over an attachment to a network."""

    def __init__(self, guest: Guest, name: str, attachment: Attachment, max_queues: int) -> None:
        """``name`` is for the log, as ``vif1.0``."""
        self.attachment = attachment
        self._guest = guest
        self._name = name
        self._max_queues = max_queues
        self._queues: list[Queue] = []
        self._abilities = Ability(0)
        self._multicast = MulticastFilter()
        self._steering = Steering(1)
        self._control: ControlRing | None = None
        self._arrivals: list[_Arrival] = []
        """What has no room in its queue yet, in reverse order."""
        attachment.on_frames = self._receive
        attachment.on_room = self._transmit_all

    def bound(self, write: Callable[[Nodes], None]) -> None:
        """See DeviceBackend."""
        report_network(self.attachment, write)

    def features(self) -> Nodes:
        """See DeviceBackend."""
        return {
            "feature-sg": "1",
            "feature-gso-tcpv4": "1",
            "feature-gso-tcpv6": "1",
            "feature-ipv6-csum-offload": "1",
            "feature-rx-copy": "1",
            "feature-rx-flip": "0",
            "feature-multicast-control": "1",
            "feature-dynamic-multicast-control": "1",
            "feature-split-event-channels": "1",
            "feature-ctrl-ring": "1",
            "multi-queue-max-queues": str(self._max_queues),
        }

    def connect(self, frontend: Nodes) -> Nodes:
        """See DeviceBackend."""
        if not flag(frontend, "request-rx-copy"):
            raise XenbusError("only frontends that receive by copying are served")
        self._abilities = _abilities(frontend)
        self._multicast = MulticastFilter()
        self.changed(frontend)
        offers = queue_offers(frontend, self._max_queues)
        self._steering = Steering(len(offers))
        for offer in offers:
            queue = Queue(self._guest, offer, self._multicast)
            self._queues.append(queue)
            queue.bind(self._guarded(queue, self._transmit), self._guarded(queue, self._room_came))
        if "ctrl-ring-ref" in frontend:
            self._control = ControlRing(self._guest, frontend, self._steering, self._disable)
        for queue in self._queues:
            # What was sent before the channels were bound was not heard.
            self._guest.post(self._guarded(queue, self._transmit))
        self._guest.post(self._receive)
        return {}

    def watched(self) -> Sequence[str]:
        """See DeviceBackend."""
        return (_MULTICAST,)

    def changed(self, frontend: Nodes) -> None:
        """See DeviceBackend."""
        self._multicast.enabled = flag(frontend, _MULTICAST)

    def disconnect(self, then: Callable[[], None]) -> None:
        """See DeviceBackend."""
        self._arrivals = []
        for queue in self._queues:
            queue.close()
        self._queues = []
        if self._control is not None:
            self._control.close()
            self._control = None
        then()

    def close(self) -> None:
        """See DeviceBackend."""
        self.attachment.close()

    def _guarded(self, queue: Queue, serve: Callable[[Queue], None]) -> Callable[[], None]:
        """The call of a queue's event channel, which ends the interface if the ring is broken."""

        def call() -> None:
            # The event may have been on its way when the queue was closed.
            if queue in self._queues:
                try:
                    serve(queue)
                except ProtocolError as error:
                    self._disable(str(error))

        return call

    def _disable(self, why: str) -> None:
        self._guest.log(f"{self._name}: fatal error; disabling device: {why}")
        self.disconnect(lambda: None)

    def _transmit_all(self) -> None:
        for queue in list(self._queues):
            self._guarded(queue, self._transmit)()

    def _transmit(self, queue: Queue) -> None:
        """Send what the guest has put into a queue, as far as network and rate allow."""
        frames: list[Frame] = []
        transmitter, attachment = queue.transmitter, self.attachment
        try:
            while attachment.may_send:
                for packet in transmitter.waiting():
                    if not attachment.has_credit(packet.size):
                        break
                    frame = transmitter.take(packet)
                    if frame is not None:
                        frames.append(frame)
                if frames:
                    attachment.send(frames)
                    frames = []
                if attachment.may_send and not transmitter.ring.await_requests(1):
                    break
        finally:
            queue.push_transmitted()

    def _room_came(self, _queue: Queue) -> None:
        if self._arrivals:
            self._receive()

    def _receive(self) -> None:
        """Give the guest what the network has for it, as far as it has offered room."""
        try:
            while (arrival := self._next_arrival()) is not None:
                frame, queue, frame_hash = arrival
                if not queue.receiver.has_room(frame, frame_hash):
                    self._arrivals.append(arrival)
                    break
                queue.receiver.put(frame, frame_hash)
            for queue in self._queues:
                queue.push_received()
        except ProtocolError as error:
            self._disable(str(error))

    def _next_arrival(self) -> _Arrival | None:
        """The next frame that the guest is to have; None if there is none now."""
        if self._arrivals:
            return self._arrivals.pop()
        statistics = self.attachment.statistics
        while (frame := self.attachment.receive()) is not None:
            # A frontend that is not connected hears nothing.
            if not self._queues or not self._multicast.passes(frame.data):
                continue
            try:
                settled = settle(frame, self._abilities)
            except FrameError:
                statistics.rx_dropped += 1
                continue
            arrivals = [self._steer(each) for each in settled if len(each.data) <= MAX_FRAME]
            if arrivals:
                self._arrivals = arrivals[::-1]
                return self._arrivals.pop()
        return None

    def _steer(self, frame: Frame) -> _Arrival:
        number, frame_hash = self._steering.choose(frame.data)
        return _Arrival(frame, self._queues[number], frame_hash)


def _abilities(frontend: Nodes) -> Ability:
    """What a frontend says that it does itself."""
    able = Ability(0) if flag(frontend, "feature-no-csum-offload") else Ability.CSUM_IPV4
    if flag(frontend, "feature-ipv6-csum-offload"):
        able |= Ability.CSUM_IPV6
    # Large packets are many slots, which not every frontend takes.
    if flag(frontend, "feature-sg"):
        if flag(frontend, "feature-gso-tcpv4"):
            able |= Ability.TSO4
        if flag(frontend, "feature-gso-tcpv6"):
            able |= Ability.TSO6
    return able
