"""One pair of rings of an interface, and the messages on it.

Messages of unknown types are passed over, so that there may be new ones; what no frontend would send
ends the interface.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from xenolith.abi.layout import Layout
from xenolith.abi.netchannel2 import (
    MSG_FINISH_PACKET,
    MSG_SET_MAX_FRAGMENTS_PER_PACKET,
    MSG_SET_MAX_PACKETS,
    MSG_SET_OFFLOAD,
    NETCHANNEL2_MAX_PACKET_BYTES,
    Msg,
)
from xenolith.abi.uring import SHARED, SRING, MsgHdr
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.netchannel2.granted_pages import GrantedPage, GrantedPages
from xenolith.backends.net.netchannel2.message_ring import (
    MessageConsumer,
    MessageProducer,
    RingBytes,
)
from xenolith.backends.net.netchannel2.offers import ChannelOffer
from xenolith.backends.net.netchannel2.packets import (
    MAX_FRAGMENTS,
    Packet,
    fragment_count,
    frame_of,
    message_bytes,
    message_of,
    parse,
)
from xenolith.backends.xenbus import Guest
from xenolith.hypervisor.event_channel import BackendPort
from xenolith.hypervisor.grant_table import GrantError, GrantMapping
from xenolith.net.frame import Frame
from xenolith.net.software_offload import Ability

MAX_WAITING = 64
"""Packets that are taken out of the ring before they can be sent on."""

_MAX_PACKETS = 256
_RING_BYTES_PER_PACKET = 64
"""The ring for answers has eight times the room that is kept for finishing packets."""
_MAX_PAGES = 128
_DOMAIN_0 = 0


class Channel:
    """A pair of rings that is mapped; GrantError, XenError, ProtocolError if it cannot be."""

    def __init__(self, guest: Guest, offer: ChannelOffer) -> None:
        self._guest = guest
        self._offer = offer
        self._mappings: list[GrantMapping] = []
        self._port: BackendPort | None = None
        self._pages: GrantedPages | None = None
        self._under_way: dict[int, list[GrantedPage]] = {}
        """The pages of each packet that the guest has not finished, by its number."""
        self._next_id = 0
        self._max_packets: int | None = None
        self._max_fragments = 1
        self._abilities = Ability(0)
        self.packets: deque[Packet] = deque()
        """What the guest has sent and is not sent on yet."""
        self.errors = 0
        try:
            self._map()
        except Exception:
            self.close()
            raise

    @property
    def abilities(self) -> Ability:
        """What the guest does itself."""
        if self._max_fragments < MAX_FRAGMENTS - 1:
            # A large packet is many fragments.
            return self._abilities & ~Ability.TSO4
        return self._abilities

    def bind(self, serve: Callable[[], None]) -> None:
        """Have a call made for the guest's events; XenError if its channel is not there."""
        bind = self._guest.event_channels.bind_backend
        self._port = bind(self._offer.port, _DOMAIN_0, serve)

    def read(self) -> bool:
        """Do what messages ask, and put packets into ``packets``; whether that were all.

        ProtocolError.
        """
        while len(self.packets) < MAX_WAITING:
            message = self._consumer.take()
            if message is not None:
                self._handle(message)
            elif not self._consumer.await_message():
                return True
        return False

    def take(self) -> Frame | None:
        """The frame of the first of ``packets``; None if it is none. ProtocolError."""
        packet = self.packets.popleft()
        try:
            return frame_of(packet, self._guest.grants)
        except (GrantError, ValueError):
            self.errors += 1
            return None
        finally:
            if packet.is_finished_by_message:
                self._send(MSG_FINISH_PACKET, Msg.FINISH_PACKET, packet.header.id)

    def can_carry(self, frame: Frame) -> bool:
        """Whether the guest takes frames of this size at all."""
        size = len(frame.data)
        fits = fragment_count(size) <= self._max_fragments
        return fits and size <= NETCHANNEL2_MAX_PACKET_BYTES

    def has_room(self, frame: Frame) -> bool:
        """Whether a frame can be sent to the guest now; if not, it will send an event.

        ProtocolError.
        """
        assert self._pages is not None
        count = fragment_count(len(frame.data))
        if self._max_packets is None:
            return False
        if count and (len(self._under_way) >= self._max_packets or not self._pages.has(count)):
            return False
        return self._producer.has_room(message_bytes(len(frame.data)))

    def put(self, frame: Frame) -> None:
        """Send the guest a frame for which there is room."""
        assert self._pages is not None
        pages = self._pages.take(fragment_count(len(frame.data)))
        ident = self._next_id
        self._next_id = ident + 1 & 0xFFFFFFFF
        if pages:
            self._under_way[ident] = pages
        self._producer.put(message_of(frame, ident, pages))

    def push(self) -> None:
        """Show the guest what was sent and taken."""
        answers, room = self._producer.push(), self._consumer.finish()
        if self._port is not None and (answers or room):
            self._port.notify()

    def close(self) -> None:
        """Give the guest back what is its."""
        if self._port is not None:
            self._port.close()
        if self._pages is not None:
            self._pages.close()
        for mapping in self._mappings:
            mapping.unmap()
        self._port, self._pages, self._mappings = None, None, []

    def _map(self) -> None:
        offer = self._offer
        (control,) = self._map_pages([offer.control_ref], readonly=False)
        # What the guest produces we consume, and need not be able to write.
        theirs = RingBytes(self._map_pages(offer.prod_refs, readonly=True))
        ours = RingBytes(self._map_pages(offer.cons_refs, readonly=False))
        self._pages = GrantedPages(self._guest.grants.backends, MAX_FRAGMENTS, _MAX_PAGES)
        allowed = min(_MAX_PACKETS, ours.size // _RING_BYTES_PER_PACKET)
        words = {name: control[at : at + SRING.size][:16] for name, at in SHARED.offsets.items()}
        self._consumer = MessageConsumer(words["frontends"].cast("I"), theirs)
        reserve = allowed * MSG_FINISH_PACKET.size
        self._producer = MessageProducer(words["backends"].cast("I"), ours, reserve)
        self._send(MSG_SET_MAX_PACKETS, Msg.SET_MAX_PACKETS, allowed)
        self._send(
            MSG_SET_MAX_FRAGMENTS_PER_PACKET, Msg.SET_MAX_FRAGMENTS_PER_PACKET, MAX_FRAGMENTS
        )
        self._send(MSG_SET_OFFLOAD, Msg.SET_OFFLOAD, 1, 1, 0)

    def _map_pages(self, refs: Sequence[int], *, readonly: bool) -> list[memoryview]:
        for ref in refs:
            self._mappings.append(self._guest.grants.map(ref, _DOMAIN_0, readonly))
        return [mapping.view for mapping in self._mappings[-len(refs) :]]

    def _send(self, layout: Layout[Any], kind: Msg, *values: int) -> None:
        self._producer.put(layout.pack(layout.fields(MsgHdr(kind, 0, 0), *values)))

    def _handle(self, message: bytes) -> None:
        kind = message[0]
        if kind == Msg.PACKET:
            self.packets.append(parse(message))
        elif kind == Msg.FINISH_PACKET:
            ident = MSG_FINISH_PACKET.unpack(message).id
            pages = self._under_way.pop(ident, None)
            if pages is None or self._pages is None:
                raise ProtocolError(f"packet {ident} is finished, which was not under way")
            self._pages.give_back(pages)
        elif kind == Msg.SET_MAX_PACKETS:
            self._max_packets = MSG_SET_MAX_PACKETS.unpack(message).max_outstanding_packets
        elif kind == Msg.SET_MAX_FRAGMENTS_PER_PACKET:
            limit = MSG_SET_MAX_FRAGMENTS_PER_PACKET.unpack(message).max_frags_per_packet
            if not limit:
                raise ProtocolError("packets of no fragment at all")
            self._max_fragments = limit
        elif kind == Msg.SET_OFFLOAD:
            self._set_offload(message)
        elif Msg.BYPASS_FRONTEND <= kind <= Msg.BYPASS_DETACHED:
            # Such rings lead past the switch: only its end may offer them, and it does not.
            raise ProtocolError(f"a message about a bypass ({kind})")

    def _set_offload(self, message: bytes) -> None:
        offload = MSG_SET_OFFLOAD.unpack(message)
        able = Ability.CSUM_IPV4 | Ability.CSUM_IPV6 if offload.csum else Ability(0)
        if offload.csum and offload.tcpv4_segmentation_offload:
            able |= Ability.TSO4
        self._abilities = able
