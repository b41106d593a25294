"""Where the headers of a frame are: Ethernet, VLAN tags, IPv4 and IPv6, TCP and UDP.

The formats are those of IEEE 802.3 and 802.1Q, RFC 791, 8200, 9293 and 768. Frames are hostile:
None is the answer about one whose headers are not all there.
"""

from __future__ import annotations

from typing import NamedTuple

ETHERNET_BYTES = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
_ETHERTYPE_VLAN = (0x8100, 0x88A8)

TCP, UDP = 6, 17
CSUM_OFFSET = {TCP: 16, UDP: 6}
"""Where the checksum is in the header of each transport that has one to offload."""

_MAX_VLANS = 2
_IPV6_BYTES = 40
_FRAGMENT = 44
_SKIPPED = (0, 43, 60)
"""IPv6 extension headers: hop-by-hop, routing, destination options."""
_MAX_EXTENSIONS = 8


class Headers(NamedTuple):
    """Offsets in bytes from the frame's start."""

    version: int
    """4 or 6."""
    ip: int
    transport: int
    protocol: int
    """TCP or UDP."""
    payload: int


def find_headers(frame: bytes | memoryview) -> Headers | None:
    """The headers of a TCP or UDP packet that is not a fragment; None for anything else."""
    ip = ETHERNET_BYTES
    kind = _u16(frame, 12)
    for _ in range(_MAX_VLANS):
        if kind not in _ETHERTYPE_VLAN:
            break
        kind = _u16(frame, ip + 2)
        ip += 4
    if kind == ETHERTYPE_IPV4:
        return _ipv4(frame, ip)
    if kind == ETHERTYPE_IPV6:
        return _ipv6(frame, ip)
    return None


def _ipv4(frame: bytes | memoryview, ip: int) -> Headers | None:
    if len(frame) < ip + 20 or frame[ip] >> 4 != 4:
        return None
    length = (frame[ip] & 15) * 4
    if length < 20 or _u16(frame, ip + 6) & 0x3FFF:
        return None
    return _transport(frame, 4, ip, ip + length, frame[ip + 9])


def _ipv6(frame: bytes | memoryview, ip: int) -> Headers | None:
    if len(frame) < ip + _IPV6_BYTES or frame[ip] >> 4 != 6:
        return None
    following, at = frame[ip + 6], ip + _IPV6_BYTES
    for _ in range(_MAX_EXTENSIONS):
        if following not in _SKIPPED:
            break
        if len(frame) < at + 2:
            return None
        following, at = frame[at], at + (frame[at + 1] + 1) * 8
    return _transport(frame, 6, ip, at, following)


def _transport(
    frame: bytes | memoryview, version: int, ip: int, at: int, protocol: int
) -> Headers | None:
    if protocol == TCP and len(frame) >= at + 20:
        length = (frame[at + 12] >> 4) * 4
        if length >= 20 and len(frame) >= at + length:
            return Headers(version, ip, at, TCP, at + length)
    elif protocol == UDP and len(frame) >= at + 8:
        return Headers(version, ip, at, UDP, at + 8)
    return None


def _u16(frame: bytes | memoryview, offset: int) -> int:
    """A big-endian number; 0 beyond the end."""
    return int.from_bytes(frame[offset : offset + 2], "big")
