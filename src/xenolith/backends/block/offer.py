"""What a frontend offers in its nodes: rings of one or more pages, in one or more queues, of some layout.

The nodes are those of public/io/blkif.h, with both of its spellings for rings of several pages.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.abi.blkif import BLKIF_ABIS, BlkifAbi
from xenolith.backends.xenbus import Nodes, XenbusError, flag, number

MAX_RING_PAGE_ORDER = 4
MAX_QUEUES = 8

_NATIVE = "x86_64-abi"


class QueueOffer(NamedTuple):
    """One ring: the grants of its pages, and its event channel."""

    refs: list[int]
    port: int


class Offer(NamedTuple):
    """All that a frontend says of itself."""

    abi: BlkifAbi
    persistent: bool
    queues: list[QueueOffer]


def read_offer(frontend: Nodes) -> Offer:
    """What a frontend offers; XenbusError if it makes no sense."""
    protocol = frontend.get("protocol", _NATIVE)
    if protocol not in BLKIF_ABIS:
        raise XenbusError(f"protocol is {protocol[:32]!r}")
    queues = number(frontend, "multi-queue-num-queues", 1)
    if not 0 < queues <= MAX_QUEUES:
        raise XenbusError(f"{queues} queues, at most {MAX_QUEUES} are offered")
    pages = _ring_pages(frontend)
    prefixes = [""] if queues == 1 else [f"queue-{queue}/" for queue in range(queues)]
    return Offer(
        BLKIF_ABIS[protocol],
        flag(frontend, "feature-persistent"),
        [_queue(frontend, prefix, pages) for prefix in prefixes],
    )


def _ring_pages(frontend: Nodes) -> int:
    if "ring-page-order" in frontend:
        order = number(frontend, "ring-page-order")
        pages = 1 << order if order <= MAX_RING_PAGE_ORDER else 0
    else:
        pages = number(frontend, "num-ring-pages", 1)
    if pages not in (1 << order for order in range(MAX_RING_PAGE_ORDER + 1)):
        raise XenbusError(f"a ring cannot be so long: at most {1 << MAX_RING_PAGE_ORDER} pages")
    return pages


def _queue(frontend: Nodes, prefix: str, pages: int) -> QueueOffer:
    numbered = pages > 1 or f"{prefix}ring-ref0" in frontend
    names = [f"{prefix}ring-ref{page}" for page in range(pages)]
    refs = [number(frontend, name) for name in (names if numbered else [f"{prefix}ring-ref"])]
    return QueueOffer(refs, number(frontend, f"{prefix}event-channel"))
