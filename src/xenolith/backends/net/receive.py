"""From frames to slots: what the guest receives, copied into the frames that it has offered.

A packet's first slot is followed by its extras, and these by its other stretches; see public/io/netif.h.
Linux's netfront needs each response in the slot of its request.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xenolith.abi.layout import Layout
from xenolith.abi.netif import (
    EXTRA_GSO,
    EXTRA_HASH,
    RX_REQUEST,
    RX_RESPONSE,
    XEN_NETIF_EXTRA_FLAG_MORE,
    ExtraType,
    GsoType,
    NETRXF_csum_blank,
    NETRXF_data_validated,
    NETRXF_extra_info,
    NETRXF_more_data,
    Rsp,
)
from xenolith.backends.net.slot_ring import SlotRing
from xenolith.hypervisor.grant_table import GrantError, GrantTable
from xenolith.machine.address import PAGE_SIZE
from xenolith.net import frame as frames
from xenolith.net.frame import NOTHING, Frame, OffloadFlag

_DOMAIN_0 = 0
_SLOT_BYTES = RX_RESPONSE.size
_GSO_TYPES = {
    frames.GsoType.NONE: GsoType.NONE,
    frames.GsoType.TCPV4: GsoType.TCPV4,
    frames.GsoType.TCPV6: GsoType.TCPV6,
}


class FrameHash(NamedTuple):
    """The hash of a frame's headers, for the guest to use instead of computing one."""

    type: int
    algorithm: int
    value: int


_Extra = tuple[Layout[Any], tuple[Any, ...]]


class Receiver:
    """One queue's receive ring; the frames that it is given have at most one page each slot."""

    def __init__(self, page: memoryview, grants: GrantTable) -> None:
        self.ring = SlotRing(page, _SLOT_BYTES)
        self._grants = grants
        self.errors = 0

    def has_room(self, frame: Frame, frame_hash: FrameHash | None) -> bool:
        """Whether the guest has offered enough for a frame; if not, an event comes once it has.

        ProtocolError.
        """
        needed = _slots(frame) + (frame_hash is not None)
        return self.ring.available() >= needed or self.ring.await_requests(needed)

    def put(self, frame: Frame, frame_hash: FrameHash | None) -> None:
        """Give the guest a frame for which there is room."""
        data, offload = frame
        extras = _extras(frame, frame_hash)
        stretches = -(-len(data) // PAGE_SIZE)
        count = stretches + len(extras)
        requests = RX_REQUEST.unpack_all(self.ring.read(count))
        self.ring.consume(count)
        own = [requests[0], *requests[1 + len(extras) :]]
        sizes = [PAGE_SIZE] * (stretches - 1) + [len(data) - (stretches - 1) * PAGE_SIZE]
        try:
            self._copy([request[2] for request in own], data, sizes)
        except GrantError:
            self.errors += 1
            for request in requests:
                self.ring.respond(RX_RESPONSE, (request[0], 0, 0, Rsp.ERROR))
            return
        flags = _flags(offload.flags) | (NETRXF_extra_info if extras else 0)
        for number, (request, size) in enumerate(zip(own, sizes, strict=True)):
            more = NETRXF_more_data if number < stretches - 1 else 0
            self.ring.respond(RX_RESPONSE, (request[0], 0, flags | more, size))
            if extras:
                for layout, extra in extras:
                    self.ring.respond(layout, extra)
                extras = []
            flags = 0

    def _copy(self, refs: list[int], data: bytes | memoryview, sizes: list[int]) -> None:
        window = self._grants.copy_window
        at = 0
        for ref, size in zip(refs, sizes, strict=True):
            window(ref, _DOMAIN_0, False, 0, size)[:] = data[at : at + size]
            at += size


def _slots(frame: Frame) -> int:
    """The slots of a frame without a hash."""
    return -(-len(frame.data) // PAGE_SIZE) + (frame.offload.gso_type != frames.GsoType.NONE)


def _extras(frame: Frame, frame_hash: FrameHash | None) -> list[_Extra]:
    """The extras of a frame, each with its layout."""
    extras: list[_Extra] = []
    offload = frame.offload
    if offload is NOTHING and frame_hash is None:
        return extras
    if offload.gso_type != frames.GsoType.NONE:
        more = XEN_NETIF_EXTRA_FLAG_MORE if frame_hash is not None else 0
        kind = _GSO_TYPES[frames.GsoType(offload.gso_type)]
        extras.append((EXTRA_GSO, (ExtraType.GSO, more, offload.gso_size, kind, 0, 0)))
    if frame_hash is not None:
        value = frame_hash.value.to_bytes(4, "little")
        extra = (ExtraType.HASH, 0, frame_hash.type, frame_hash.algorithm, value)
        extras.append((EXTRA_HASH, extra))
    return extras


def _flags(offload: int) -> int:
    if offload & OffloadFlag.NEEDS_CSUM:
        # Nobody can have damaged what was not computed yet.
        return NETRXF_csum_blank | NETRXF_data_validated
    return NETRXF_data_validated if offload & OffloadFlag.DATA_VALID else 0
