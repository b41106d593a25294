"""One interface of class vif2: its handshake with the frontend, its channels, and the way of each frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from xenolith.backends.net.attachment import Attachment, report_network
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.netchannel2.channel import Channel
from xenolith.backends.net.netchannel2.offers import MAX_RING_PAGE_ORDER, channel_offers
from xenolith.backends.net.steering import Steering
from xenolith.backends.xenbus import Guest, Nodes, XenbusError
from xenolith.backends.xenbus.device import DeviceBackend
from xenolith.net.errors import FrameError
from xenolith.net.frame import Frame
from xenolith.net.software_offload import settle


class _Arrival(NamedTuple):
    """A frame for the guest, and its channel."""

    frame: Frame
    channel: Channel


class Vif2Backend(DeviceBackend):
    """Implements xenbus.DeviceBackend over an attachment to a network."""

    def __init__(
        self,
        guest: Guest,
        name: str,
        attachment: Attachment,
        max_channels: int,
        own_address: bytes | None = None,
    ) -> None:
        """``name`` is for the log; frames must come from ``own_address`` unless that is None."""
        self.attachment = attachment
        self._guest = guest
        self._name = name
        self._max_channels = max_channels
        self._own_address = own_address
        self._channels: list[Channel] = []
        self._steering = Steering(1)
        self._arrivals: list[_Arrival] = []
        """What has no room in its channel yet, in reverse order."""
        attachment.on_frames = self._guarded(self._receive)
        attachment.on_room = self._guarded(self._serve_all)

    def bound(self, write: Callable[[Nodes], None]) -> None:
        """See DeviceBackend."""
        report_network(self.attachment, write)

    def features(self) -> Nodes:
        """See DeviceBackend."""
        return {
            "max-ring-page-order": str(MAX_RING_PAGE_ORDER),
            "multi-queue-max-queues": str(self._max_channels),
        }

    def connect(self, frontend: Nodes) -> Nodes:
        """See DeviceBackend."""
        offers = channel_offers(frontend, self._max_channels)
        self._steering = Steering(len(offers))
        for offer in offers:
            try:
                channel = Channel(self._guest, offer)
            except ProtocolError as error:
                raise XenbusError(str(error)) from None
            self._channels.append(channel)
            channel.bind(self._served(channel))
        for channel in self._channels:
            # What was sent before the event channels were bound was not heard.
            self._guest.post(self._served(channel))
        return {}

    def disconnect(self, then: Callable[[], None]) -> None:
        """See DeviceBackend."""
        self._arrivals = []
        for channel in self._channels:
            channel.close()
        self._channels = []
        then()

    def close(self) -> None:
        """See DeviceBackend."""
        self.attachment.close()

    def _served(self, channel: Channel) -> Callable[[], None]:
        """The call of a channel's events, which may still be on their way when it was closed."""

        def serve() -> None:
            if channel in self._channels:
                self._serve(channel)

        return self._guarded(serve)

    def _guarded(self, call: Callable[[], None]) -> Callable[[], None]:
        """A call that ends the interface if the guest has broken its rings."""

        def guarded() -> None:
            try:
                call()
            except ProtocolError as error:
                self._guest.log(f"{self._name}: fatal error; disabling device: {error}")
                self.disconnect(lambda: None)

        return guarded

    def _serve_all(self) -> None:
        for channel in list(self._channels):
            self._serve(channel)

    def _serve(self, channel: Channel) -> None:
        """Do what the guest's messages ask, as far as network and rate allow."""
        try:
            while True:
                drained = channel.read()
                self._transmit(channel)
                if drained or channel.packets:
                    break
        finally:
            channel.push()
        # Packets that it has finished may have made room for others.
        self._receive()

    def _transmit(self, channel: Channel) -> None:
        frames: list[Frame] = []
        attachment = self.attachment
        while channel.packets and attachment.may_send:
            if not attachment.has_credit(channel.packets[0].size):
                break
            frame = channel.take()
            if frame is None:
                continue
            if self._own_address is not None and frame.data[6:12] != self._own_address:
                attachment.statistics.tx_dropped += 1
                continue
            frames.append(frame)
        if frames:
            attachment.send(frames)

    def _receive(self) -> None:
        """Give the guest what the network has for it, as far as it has room."""
        while (arrival := self._next_arrival()) is not None:
            frame, channel = arrival
            if not channel.has_room(frame):
                self._arrivals.append(arrival)
                break
            channel.put(frame)
        for channel in self._channels:
            channel.push()

    def _next_arrival(self) -> _Arrival | None:
        """The next frame that the guest is to have; None if there is none now."""
        if self._arrivals:
            return self._arrivals.pop()
        while (frame := self.attachment.receive()) is not None:
            # A frontend that is not connected hears nothing.
            if not self._channels:
                continue
            number, _ = self._steering.choose(frame.data)
            channel = self._channels[number]
            arrivals = self._settled(frame, channel)
            if arrivals:
                self._arrivals = arrivals[::-1]
                return self._arrivals.pop()
        return None

    def _settled(self, frame: Frame, channel: Channel) -> list[_Arrival]:
        """What the guest is given instead of a frame: what it can take, and no more is to be done about."""
        try:
            frames = settle(frame, channel.abilities)
        except FrameError:
            frames = []
        arrivals = [_Arrival(each, channel) for each in frames if channel.can_carry(each)]
        if len(arrivals) < max(len(frames), 1):
            self.attachment.statistics.rx_dropped += 1
        return arrivals
