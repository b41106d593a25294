"""An Ethernet frame on its way, and what is left to be done about it by whoever can do it best.

What is left is said as by virtio_net_hdr (linux/virtio_net.h): Linux's taps and our switch take
that header in front of each frame.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

HEADER_BYTES = 10
"""Of a virtio_net_hdr, without the count of buffers that only mergeable rings have."""

MAX_FRAME = 65535 + 18
"""Bytes of the largest frame that any peer may send: an IP packet in a VLAN."""

_HEADER = struct.Struct("<BBHHHH")


class OffloadFlag(IntFlag):
    """virtio_net_hdr.flags."""

    NEEDS_CSUM = 1
    """The checksum at ``csum_start + csum_offset`` covers the pseudo header alone so far."""
    DATA_VALID = 2
    """The checksum is known to be right."""


class GsoType(IntEnum):
    """virtio_net_hdr.gso_type, without its ECN bit."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 4


class Offload(NamedTuple):
    """What is left to be done; offsets are bytes from the frame's start.

    Segments have ``gso_size`` bytes of payload behind ``header_length`` bytes of headers.
    """

    flags: int = 0
    gso_type: int = GsoType.NONE
    header_length: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        """The virtio_net_hdr, in the byte order of all hosts that there are."""
        return _HEADER.pack(*self)


NOTHING = Offload()
"""The frame is as the wire wants it."""
VALIDATED = Offload(OffloadFlag.DATA_VALID)
"""As the wire wants it, and somebody has looked."""

PACKED_NOTHING = NOTHING.pack()


class Frame(NamedTuple):
    """A frame, from its destination address on and without check sequence."""

    data: bytes | memoryview
    offload: Offload = NOTHING


def unpack_offload(header: bytes | memoryview) -> Offload:
    """Read a virtio_net_hdr; what it says has still to be checked against the frame."""
    return Offload._make(_HEADER.unpack_from(header))
