"""PACKET messages: read from what a guest sent, and made for what it is to receive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xenolith.abi.netchannel2 import (
    FRAGMENT,
    MSG_PACKET,
    NETCHANNEL2_MAX_INLINE_BYTES,
    NETCHANNEL2_MAX_PACKET_BYTES,
    Fragment,
    Msg,
    MsgPacket,
    PacketFlag,
    PacketType,
    SegmentationType,
)
from xenolith.abi.uring import MsgHdr
from xenolith.backends.net.errors import ProtocolError
from xenolith.backends.net.offload import offload_of
from xenolith.hypervisor.grant_table import GrantTable
from xenolith.machine.address import PAGE_SIZE
from xenolith.net.frame import NOTHING, VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.headers import ETHERNET_BYTES

MAX_FRAGMENTS = 18
"""Of a packet: the largest one, in pages that it does not begin at the start of."""

_TYPES = tuple(PacketType)
_DOMAIN_0 = 0
_PREFIX_BYTES = 128
"""The headers of any packet: what a receiver wants to have at hand."""


class Packet(NamedTuple):
    """A packet as the guest describes it."""

    header: MsgPacket
    fragments: list[tuple[int, int, int]]
    """(bytes, offset in the page, grant reference)."""
    prefix: bytes

    @property
    def size(self) -> int:
        """Bytes of the frame."""
        return len(self.prefix) + sum(fragment[0] for fragment in self.fragments)

    @property
    def is_finished_by_message(self) -> bool:
        """Whether the guest waits for a FINISH_PACKET."""
        return self.header.type != PacketType.small


def parse(message: bytes) -> Packet:
    """What a PACKET message says; ProtocolError.

    Of one with too many fragments, some; it is no frame in any case.
    """
    if len(message) < MSG_PACKET.size:
        raise ProtocolError(f"a packet's message of {len(message)} bytes")
    header = MSG_PACKET.unpack(message)
    if header.type not in _TYPES:
        raise ProtocolError(f"a packet of type {header.type}")
    room = len(message) - MSG_PACKET.size - header.prefix_size
    if header.prefix_size > NETCHANNEL2_MAX_INLINE_BYTES or room < 0:
        raise ProtocolError(f"a packet's prefix of {header.prefix_size} bytes")
    count = room // FRAGMENT.size
    if count and header.type == PacketType.small:
        raise ProtocolError("a small packet with fragments")
    end = MSG_PACKET.size + count * FRAGMENT.size
    kept = MSG_PACKET.size + min(count, MAX_FRAGMENTS + 1) * FRAGMENT.size
    fragments: list[tuple[int, int, int]] = FRAGMENT.unpack_all(message[MSG_PACKET.size : kept])
    return Packet(header, fragments, message[end : end + header.prefix_size])


def frame_of(packet: Packet, grants: GrantTable) -> Frame:
    """The frame that a packet is, copied; GrantError, or ValueError for one that cannot be."""
    header, fragments, prefix = packet
    if len(fragments) > MAX_FRAGMENTS:
        raise ValueError("too many fragments")
    if not ETHERNET_BYTES <= packet.size <= NETCHANNEL2_MAX_PACKET_BYTES:
        raise ValueError(f"a frame of {packet.size} bytes")
    window = grants.copy_window
    data = b"".join([prefix, *(window(ref, _DOMAIN_0, True, at, n) for n, at, ref in fragments)])
    if header.segmentation_type == SegmentationType.tcpv4:
        if not header.mss:
            raise ValueError("segments of no size")
        return Frame(data, offload_of(data, GsoType.TCPV4, header.mss))
    if header.segmentation_type != SegmentationType.none:
        raise ValueError(f"segments of type {header.segmentation_type}")
    if header.flags & PacketFlag.csum_blank:
        offload = offload_of(data, GsoType.NONE, 0)
        where = (offload.csum_start, offload.csum_start + offload.csum_offset)
        if where != (header.csum_start, header.csum_offset):
            raise ValueError("the blank checksum is not the transport's")
        return Frame(data, offload)
    return Frame(data, VALIDATED if header.flags & PacketFlag.data_validated else NOTHING)


def fragment_count(size: int) -> int:
    """How many pages a frame of ``size`` bytes needs beside what goes into its message."""
    if size <= NETCHANNEL2_MAX_INLINE_BYTES:
        return 0
    return -(-(size - _PREFIX_BYTES) // PAGE_SIZE)


def message_bytes(size: int) -> int:
    """The size of the message for a frame of ``size`` bytes."""
    count = fragment_count(size)
    return MSG_PACKET.size + count * FRAGMENT.size + (_PREFIX_BYTES if count else size)


def message_of(frame: Frame, ident: int, pages: Sequence[tuple[int, memoryview]]) -> bytes:
    """Put a frame into granted pages, as many as fragment_count() says, and describe it."""
    data, offload = frame
    size = len(data)
    inline = _PREFIX_BYTES if pages else size
    fragments = []
    for number, (ref, page) in enumerate(pages):
        part = data[inline + number * PAGE_SIZE : inline + (number + 1) * PAGE_SIZE]
        page[: len(part)] = part
        fragments.append(FRAGMENT.pack(Fragment(len(part), 0, ref)))
    header = MsgPacket(
        hdr=MsgHdr(Msg.PACKET, 0, 0),
        id=ident,
        type=PacketType.receiver_map if pages else PacketType.small,
        flags=_flags(offload),
        segmentation_type=SegmentationType.tcpv4 if offload.gso_type else SegmentationType.none,
        pad=0,
        prefix_size=inline,
        mss=offload.gso_size,
        csum_start=offload.csum_start,
        csum_offset=offload.csum_start + offload.csum_offset,
    )
    return b"".join((MSG_PACKET.pack(header), *fragments, data[:inline]))


def _flags(offload: Offload) -> int:
    if offload.flags & OffloadFlag.NEEDS_CSUM:
        # Nobody can have damaged what was not computed yet.
        return PacketFlag.csum_blank | PacketFlag.data_validated
    return PacketFlag.data_validated if offload.flags & OffloadFlag.DATA_VALID else 0
