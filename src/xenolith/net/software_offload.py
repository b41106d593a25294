"""Does for a frame what its receiver cannot: completes its checksum, cuts it into segments.

Checksums are those of RFC 1071, segments as a network card makes them from a large TCP packet.
"""

from __future__ import annotations

from enum import IntFlag

from xenolith.net.errors import FrameError
from xenolith.net.frame import NOTHING, VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.headers import CSUM_OFFSET, TCP, Headers, find_headers

_FIN_PSH = 0x09
_CWR = 0x80
_FLAGS = 13
"""Of the TCP header."""
_VERSIONS: dict[int, int] = {GsoType.TCPV4: 4, GsoType.TCPV6: 6}
_MOST_SEGMENTS = 2048
"""Of one packet: with the smallest that Linux makes (tcp_min_snd_mss, 48 bytes) there are 1366."""
_MAX_IP_PACKET = 65535


class Ability(IntFlag):
    """What a receiver does itself."""

    CSUM_IPV4 = 1
    CSUM_IPV6 = 2
    TSO4 = 4
    TSO6 = 8


EVERYTHING = Ability.CSUM_IPV4 | Ability.CSUM_IPV6 | Ability.TSO4 | Ability.TSO6


def ones_complement_sum(data: bytes | bytearray | memoryview) -> int:
    """The sum of big-endian 16-bit words, below 0xFFFF; the last byte may stand alone."""
    # 2**16 is 1 modulo 65535, so the number that the bytes make is congruent to their sum.
    total = int.from_bytes(data, "big") % 0xFFFF
    return total if len(data) % 2 == 0 else (total << 8) % 0xFFFF


def settle(frame: Frame, abilities: Ability) -> list[Frame]:
    """The frames that say the same to a receiver of these abilities; FrameError.

    A checksum that is left to do is that of TCP or UDP.
    """
    data, offload = frame
    if offload is NOTHING or offload is VALIDATED:
        return [frame]
    if offload.gso_type == GsoType.NONE and not offload.flags & OffloadFlag.NEEDS_CSUM:
        # Whatever else its sender has said.
        return [Frame(data, VALIDATED if offload.flags & OffloadFlag.DATA_VALID else NOTHING)]
    headers = find_headers(data)
    _check(len(data), offload, headers)
    if offload.gso_type != GsoType.NONE:
        assert headers is not None
        needed = Ability.TSO4 if headers.version == 4 else Ability.TSO6
        if not abilities & needed:
            return _segments(data, offload.gso_size, headers)
        if _is_transport_checksum(offload, headers):
            return [frame]
        where = {"csum_start": headers.transport, "csum_offset": CSUM_OFFSET[TCP]}
        return [Frame(data, offload._replace(**where))]
    if headers is not None and _is_transport_checksum(offload, headers):
        needed = Ability.CSUM_IPV4 if headers.version == 4 else Ability.CSUM_IPV6
        if abilities & needed:
            return [frame]
    return [Frame(_completed(data, offload))]


def _check(size: int, offload: Offload, headers: Headers | None) -> None:
    """FrameError unless what is left to do can be done."""
    if offload.flags & OffloadFlag.NEEDS_CSUM and (
        offload.csum_start >= size or offload.csum_start + offload.csum_offset + 2 > size
    ):
        raise FrameError("the checksum is beyond the frame's end")
    if offload.gso_type == GsoType.NONE:
        return
    if headers is None or headers.protocol != TCP:
        raise FrameError("only TCP is cut into segments")
    if _VERSIONS.get(offload.gso_type) != headers.version:
        raise FrameError(f"segments of type {offload.gso_type} are not those of this packet")
    if not offload.gso_size:
        raise FrameError("segments of no size")
    if size - headers.ip > _MAX_IP_PACKET:
        raise FrameError("the packet is longer than IP can say")
    # Who receives has the work, and may not be who has asked for it.
    if size - headers.payload > _MOST_SEGMENTS * offload.gso_size:
        raise FrameError(f"segments of {offload.gso_size} bytes would be too many")


def _is_transport_checksum(offload: Offload, headers: Headers) -> bool:
    return (
        offload.csum_start == headers.transport
        and offload.csum_offset == CSUM_OFFSET[headers.protocol]
    )


def _completed(data: bytes | memoryview, offload: Offload) -> bytes:
    """The frame with its checksum over all from ``csum_start`` on."""
    whole = bytearray(data)
    at = offload.csum_start + offload.csum_offset
    checksum = 0xFFFF - ones_complement_sum(whole[offload.csum_start :])
    whole[at : at + 2] = checksum.to_bytes(2, "big")
    return bytes(whole)


def _segments(data: bytes | memoryview, size: int, headers: Headers) -> list[Frame]:
    """Segments of ``size`` bytes of payload each, with checksums."""
    payload = headers.payload
    starts = range(payload, max(len(data), payload + 1), size)
    first_header = bytes(data[:payload])
    frames = []
    for number, start in enumerate(starts):
        header = bytearray(first_header)
        part = data[start : start + size]
        flags = header[headers.transport + _FLAGS]
        if number:
            flags &= ~_CWR
        if start != starts[-1]:
            flags &= ~_FIN_PSH
        header[headers.transport + _FLAGS] = flags
        _add(header, headers.transport + 4, 4, start - payload)
        _set_length(header, headers, len(part), number)
        set_transport_checksum(header, headers, part)
        frames.append(Frame(bytes(header) + part, NOTHING))
    return frames


def _set_length(header: bytearray, headers: Headers, payload: int, number: int) -> None:
    """Make the IP header that of the segment ``number`` with ``payload`` bytes."""
    ip = headers.ip
    size = headers.payload - ip + payload
    if headers.version == 6:
        header[ip + 4 : ip + 6] = (size - 40).to_bytes(2, "big")
        return
    header[ip + 2 : ip + 4] = size.to_bytes(2, "big")
    _add(header, ip + 4, 2, number)
    set_ipv4_checksum(header, headers)


def set_ipv4_checksum(frame: bytearray, headers: Headers) -> None:
    """Make the IPv4 header's own checksum right."""
    ip = headers.ip
    end = ip + (frame[ip] & 15) * 4
    frame[ip + 10 : ip + 12] = b"\0\0"
    checksum = 0xFFFF - ones_complement_sum(frame[ip:end])
    frame[ip + 10 : ip + 12] = checksum.to_bytes(2, "big")


def set_transport_checksum(
    header: bytearray, headers: Headers, payload: bytes | memoryview
) -> None:
    """Make the TCP or UDP checksum of headers right for the payload that follows them."""
    at = headers.transport + CSUM_OFFSET[headers.protocol]
    header[at : at + 2] = b"\0\0"
    segment = ones_complement_sum(header[headers.transport :])
    total = (
        pseudo_header_sum(header, headers, len(payload)) + segment + ones_complement_sum(payload)
    )
    header[at : at + 2] = (0xFFFF - total % 0xFFFF).to_bytes(2, "big")


def pseudo_header_sum(header: bytes | bytearray, headers: Headers, payload: int) -> int:
    """The sum over addresses, protocol and length, for ``payload`` bytes behind the headers."""
    ip = headers.ip
    addresses = header[ip + 12 : ip + 20] if headers.version == 4 else header[ip + 8 : ip + 40]
    length = headers.payload - headers.transport + payload
    return ones_complement_sum(addresses) + headers.protocol + length


def _add(header: bytearray, at: int, size: int, amount: int) -> None:
    """Add to a big-endian number, modulo its size."""
    value = int.from_bytes(header[at : at + size], "big") + amount
    header[at : at + size] = (value % (1 << size * 8)).to_bytes(size, "big")
