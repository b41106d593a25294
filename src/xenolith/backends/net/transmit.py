"""From slots to frames: what the guest transmits.

A packet is a first slot with the size of the whole, extras, and more slots; see public/io/netif.h. What
is merely wrong is answered with an error; what no frontend would do ends the interface, as in Linux's
netback.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.abi.netif import (
    EXTRA_GSO,
    EXTRA_MCAST,
    TX_REQUEST,
    TX_RESPONSE,
    XEN_NETIF_EXTRA_FLAG_MORE,
    XEN_NETIF_NR_SLOTS_MIN,
    ExtraType,
    GsoType,
    NETTXF_csum_blank,
    NETTXF_data_validated,
    NETTXF_extra_info,
    NETTXF_more_data,
    Rsp,
)
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.multicast import MulticastFilter
from xenolith.backends.net.offload import offload_of
from xenolith.backends.net.slot_ring import SlotRing
from xenolith.hypervisor.grant_table import GrantError, GrantTable
from xenolith.machine.address import PAGE_SIZE
from xenolith.net import frame as frames
from xenolith.net.frame import NOTHING, VALIDATED, Frame, Offload
from xenolith.net.headers import ETHERNET_BYTES

_FATAL_SLOTS = 20
"""As netback's fatal_skb_slots: more than a packet may have is dropped, that much is an attack."""
_SLOT_BYTES = TX_REQUEST.size
_DOMAIN_0 = 0
_GSO_TYPES = {
    GsoType.TCPV4: frames.GsoType.TCPV4,
    GsoType.TCPV6: frames.GsoType.TCPV6,
}
_MCAST_EXTRAS = (ExtraType.MCAST_ADD, ExtraType.MCAST_DEL)


class Packet(NamedTuple):
    """A packet in the ring: its slots but the extras, and what the extras say."""

    slots: list[tuple[int, int, int, int, int]]
    """(grant reference, offset, flags, id, size), each size that of its own stretch."""
    extras: dict[int, bytes]

    @property
    def size(self) -> int:
        """Bytes of the frame."""
        return sum(slot[4] for slot in self.slots)

    @property
    def slot_count(self) -> int:
        """All slots that it has in the ring."""
        return len(self.slots) + len(self.extras)


class Transmitter:
    """One queue's transmit ring."""

    def __init__(self, page: memoryview, grants: GrantTable, multicast: MulticastFilter) -> None:
        self.ring = SlotRing(page, _SLOT_BYTES)
        self._grants = grants
        self._multicast = multicast
        self.errors = 0

    def waiting(self) -> list[Packet]:
        """The packets that are in the ring whole, in order; ProtocolError.

        Each is to be given to :meth:`take`, unless it has to wait.
        """
        count = self.ring.available()
        if not count:
            return []
        data = self.ring.read(count)
        slots: list[tuple[int, int, int, int, int]] = TX_REQUEST.unpack_all(data)
        packets, at = [], 0
        while at < count:
            packet = _packet(slots, data, at)
            packets.append(packet)
            at += packet.slot_count
        return packets

    def take(self, packet: Packet) -> Frame | None:
        """Take the next packet out of the ring; None if there is nothing to send of it.

        ProtocolError where the interface has to end.
        """
        self.ring.consume(packet.slot_count)
        try:
            frame = self._frame(packet)
        except (GrantError, ValueError):
            self.errors += 1
            self._respond(packet, Rsp.ERROR)
            return None
        self._respond(packet, Rsp.OKAY)
        return frame

    def _frame(self, packet: Packet) -> Frame | None:
        """The packet's frame; GrantError, or ValueError for one that cannot be."""
        slots, extras = packet
        for kind in _MCAST_EXTRAS:
            if kind in extras:
                self._multicast.change(kind, EXTRA_MCAST.unpack(extras[kind]).addr)
                return None
        if len(slots) > XEN_NETIF_NR_SLOTS_MIN:
            raise ValueError("too many slots")
        if slots[0][4] < 0:
            raise ValueError("the stretches are more than the whole")
        window = self._grants.copy_window
        data = b"".join(
            [window(ref, _DOMAIN_0, True, offset, size) for ref, offset, _, _, size in slots]
        )
        if len(data) < ETHERNET_BYTES:
            raise ValueError("too short for a frame")
        flags = slots[0][2]
        if ExtraType.GSO in extras or flags & NETTXF_csum_blank:
            return Frame(data, _offload(data, extras.get(ExtraType.GSO)))
        return Frame(data, VALIDATED if flags & NETTXF_data_validated else NOTHING)

    def _respond(self, packet: Packet, status: Rsp) -> None:
        ring = self.ring
        ids = iter(packet.slots)
        ring.respond(TX_RESPONSE, (next(ids)[3], status))
        for _ in packet.extras:
            ring.respond(TX_RESPONSE, (0, Rsp.NULL))
        for slot in ids:
            ring.respond(TX_RESPONSE, (slot[3], status))


def _packet(slots: list[tuple[int, int, int, int, int]], data: bytes, at: int) -> Packet:
    """The packet whose first slot is number ``at`` of those in the ring; ProtocolError."""
    first = slots[at]
    ref, offset, flags, ident, size = first
    extras: dict[int, bytes] = {}
    following = at + 1
    if flags & NETTXF_extra_info:
        extras = _extras(data, following)
        following += len(extras)
    stretches = [first]
    if flags & NETTXF_more_data:
        rest = size
        while flags & NETTXF_more_data:
            if following >= len(slots):
                raise ProtocolError("a packet continues in a slot that is not there")
            if len(stretches) >= _FATAL_SLOTS:
                raise ProtocolError(f"a packet of more than {_FATAL_SLOTS} slots")
            stretch = slots[following]
            flags = stretch[2]
            # More than is left makes the first stretch negative, which no copy can be.
            rest -= stretch[4]
            stretches.append(stretch)
            following += 1
        stretches[0] = (ref, offset, first[2], ident, rest)
    for stretch in stretches:
        if stretch[4] >= 0 and stretch[1] + stretch[4] > PAGE_SIZE:
            raise ProtocolError(f"a stretch of {stretch[4]} bytes from {stretch[1]} on in a page")
    return Packet(stretches, extras)


def _extras(data: bytes, at: int) -> dict[int, bytes]:
    """The extras from slot number ``at`` on, by type; ProtocolError."""
    extras: dict[int, bytes] = {}
    more = True
    while more:
        extra = data[at * _SLOT_BYTES : (at + 1) * _SLOT_BYTES]
        if not extra:
            raise ProtocolError("an extra is in a slot that is not there")
        kind = extra[0]
        if not ExtraType.NONE < kind <= ExtraType.HASH or kind in extras:
            raise ProtocolError(f"an extra of type {kind}")
        if kind == ExtraType.GSO:
            _check_gso(extra)
        extras[kind] = extra
        more = extra[1] & XEN_NETIF_EXTRA_FLAG_MORE != 0
        at += 1
    return extras


def _check_gso(extra: bytes) -> None:
    gso = EXTRA_GSO.unpack(extra)
    if gso.gso_type not in _GSO_TYPES:
        raise ProtocolError(f"segments of type {gso.gso_type}")
    if not gso.size:
        raise ProtocolError("segments of no size")


def _offload(data: bytes, gso_extra: bytes | None) -> Offload:
    """What is left to do about a frame; ValueError if that cannot be done."""
    if gso_extra is None:
        return offload_of(data, frames.GsoType.NONE, 0)
    gso = EXTRA_GSO.unpack(gso_extra)
    return offload_of(data, _GSO_TYPES[GsoType(gso.gso_type)], gso.size)
