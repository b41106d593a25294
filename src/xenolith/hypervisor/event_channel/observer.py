"""Whoever looks on while events pass between the guest, its vCPUs and the backends.

It is the seam for `xl strace`; what passes is struct evtchn's business in Xen's common/event_channel.c.
"""

from __future__ import annotations

from typing import Protocol

from xenolith.hypervisor.event_channel.channel import Channel
from xenolith.hypervisor.event_channel.delivery import Delivery


class EventObserver(Protocol):
    """Told of each event before it takes effect; changes nothing."""

    def sent(self, channel: Channel) -> None:
        """The guest notifies the backend at the other end of its port."""

    def raised(self, channel: Channel, delivery: Delivery) -> None:
        """A port of the guest's becomes pending, unless ``delivery`` has it pending already."""
