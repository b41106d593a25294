"""The messages of netchannel2, the network protocol that xl of Xen 4.0 calls vif2.

Mirrors io/netchannel2.h of the Linux trees of that time, which Xen's own public headers never had; the C
declarations that a test compares are in guests/netchannel2. Every message begins with a MsgHdr.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Annotated, NamedTuple

from xenolith.abi.layout import U8, U16, U32, Layout
from xenolith.abi.uring import MSG_HDR, MsgHdr

NETCHANNEL2_MAX_PACKET_BYTES = 65536
NETCHANNEL2_MAX_INLINE_BYTES = 256


class Msg(IntEnum):
    """The type of a message."""

    SET_MAX_PACKETS = 1
    PACKET = 2
    FINISH_PACKET = 3
    SET_OFFLOAD = 4
    SET_MAX_FRAGMENTS_PER_PACKET = 5
    BYPASS_FRONTEND = 9
    BYPASS_BACKEND = 10
    BYPASS_FRONTEND_READY = 11
    BYPASS_READY = 12
    BYPASS_DISABLE = 13
    BYPASS_DISABLED = 14
    BYPASS_DETACH = 15
    BYPASS_DETACHED = 16
    SUGGEST_BYPASS = 17


class PacketFlag(IntFlag):
    """NC2_PACKET_FLAG_*."""

    csum_blank = 1
    data_validated = 2
    bypass_candidate = 4
    need_event = 8


class PacketType(IntEnum):
    """NC2_PACKET_TYPE_*: how the receiver gets at the fragments."""

    receiver_copy = 1
    receiver_map = 3
    small = 4


class SegmentationType(IntEnum):
    """NC2_PACKET_SEGMENTATION_TYPE_*."""

    none = 0
    tcpv4 = 1


_Header = Annotated[MsgHdr, MSG_HDR]


class MsgSetMaxPackets(NamedTuple):
    """How many packets the other end may have sent that are not finished."""

    hdr: _Header
    max_outstanding_packets: U32


MSG_SET_MAX_PACKETS = Layout(MsgSetMaxPackets)


class Fragment(NamedTuple):
    """A stretch of a granted page."""

    size: U16
    off: U16
    gref: U32


FRAGMENT = Layout(Fragment)


class MsgPacket(NamedTuple):
    """A packet: fragments follow, as many as the message has room for, and then the prefix.

    ``csum_offset``, like ``csum_start``, counts from the packet's first byte.
    """

    hdr: _Header
    id: U32
    type: U8
    flags: U8
    segmentation_type: U8
    pad: U8
    prefix_size: U16
    mss: U16
    csum_start: U16
    csum_offset: U16


MSG_PACKET = Layout(MsgPacket)


class MsgFinishPacket(NamedTuple):
    """The fragments of a packet are the sender's again."""

    hdr: _Header
    id: U32


MSG_FINISH_PACKET = Layout(MsgFinishPacket)


class MsgSetOffload(NamedTuple):
    """What the other end may leave to do."""

    hdr: _Header
    csum: U8
    tcpv4_segmentation_offload: U8
    pad: U16


MSG_SET_OFFLOAD = Layout(MsgSetOffload)


class MsgSetMaxFragmentsPerPacket(NamedTuple):
    """How many fragments the other end may make of a packet; one, until this is sent."""

    hdr: _Header
    max_frags_per_packet: U32


MSG_SET_MAX_FRAGMENTS_PER_PACKET = Layout(MsgSetMaxFragmentsPerPacket)
