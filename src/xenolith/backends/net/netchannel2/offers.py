"""Where a frontend of netchannel2 has its rings: what it writes to xenstore.

The headers of the protocol name the parts, and leave the nodes to the drivers. Ours are those of the v2v
library of XenClient, which grew from it; several channels are offered as netif's queues are.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.backends.xenbus import Nodes, XenbusError, number

MAX_RING_PAGE_ORDER = 4


class ChannelOffer(NamedTuple):
    """Grant references and event channel of one pair of rings; names are the frontend's view."""

    control_ref: int
    prod_refs: list[int]
    cons_refs: list[int]
    port: int


def channel_offers(frontend: Nodes, max_channels: int) -> list[ChannelOffer]:
    """The channels that a frontend offers; XenbusError."""
    count = number(frontend, "multi-queue-num-queues", 1)
    if not 1 <= count <= max_channels:
        raise XenbusError(f"{count} queues are not between 1 and {max_channels}")
    if count == 1:
        return [_offer(frontend, "")]
    return [_offer(frontend, f"queue-{index}/") for index in range(count)]


def _offer(frontend: Nodes, prefix: str) -> ChannelOffer:
    return ChannelOffer(
        number(frontend, f"{prefix}control-gref"),
        _refs(frontend, prefix, "prod"),
        _refs(frontend, prefix, "cons"),
        number(frontend, f"{prefix}event-channel"),
    )


def _refs(frontend: Nodes, prefix: str, direction: str) -> list[int]:
    order = number(frontend, f"{prefix}{direction}-order", 0)
    if order > MAX_RING_PAGE_ORDER:
        raise XenbusError(f"a ring of 2^{order} pages is larger than 2^{MAX_RING_PAGE_ORDER}")
    return [number(frontend, f"{prefix}{direction}-gref-{index}") for index in range(1 << order)]
