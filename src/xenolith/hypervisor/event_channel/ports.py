"""The numbered ports of a domain: which exist, which is the lowest that is free.

Behaves as port allocation in Xen's common/event_channel.c does: ports come into being in buckets,
a port below the highest bucket is valid even while it is free, and port 0 is never given out.
"""

from __future__ import annotations

from xenolith.abi.errno import Errno, XenError
from xenolith.hypervisor.event_channel.channel import Channel, ChannelState
from xenolith.hypervisor.event_channel.delivery import Delivery

_BUCKET = 64


class Ports:
    """Channels by port number, none above ``max_port``."""

    def __init__(self, max_port: int) -> None:
        self._max_port = max_port
        self.channels: list[Channel] = []
        self._add_bucket()
        self.channels[0].state = ChannelState.RESERVED
        self._lowest_free = 1

    def __getitem__(self, port: int) -> Channel:
        """The channel of a valid port (0 <= port); XenError(EINVAL) for others."""
        try:
            return self.channels[port]
        except IndexError:
            raise XenError(Errno.EINVAL, f"port {port} is not valid") from None

    def allocate(self, delivery: Delivery) -> Channel:
        """The channel of the lowest port that is free and not on a queue; XenError(ENOSPC)."""
        first_passed_over = None
        for port in range(self._lowest_free, min(self._max_port + 1, delivery.capacity)):
            if port >= len(self.channels):
                self._add_bucket()
            channel = self.channels[port]
            if channel.state is ChannelState.FREE:
                if not delivery.is_busy(channel):
                    self._lowest_free = first_passed_over or port + 1
                    return channel
                first_passed_over = first_passed_over or port
        raise XenError(Errno.ENOSPC, "no event channel is free")

    def release(self, channel: Channel) -> None:
        """Make a channel free, delivered to vCPU 0 when it is next bound."""
        channel.state = ChannelState.FREE
        channel.vcpu_id = 0
        channel.local_end = None
        channel.notify = None
        self._lowest_free = min(self._lowest_free, channel.port)

    def _add_bucket(self) -> None:
        first = len(self.channels)
        self.channels += [Channel(port) for port in range(first, first + _BUCKET)]
