"""Makes large TCP packets of small ones that follow each other, as network cards do (Linux: GRO).

A guest that has an MTU of 1500 gets segments of that size from user-mode networking, and would spend
its time on their headers. What is put together can be cut again into what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xenolith.net.frame import VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.headers import CSUM_OFFSET, TCP, Headers, find_headers
from xenolith.net.software_offload import pseudo_header_sum, set_ipv4_checksum

_MIN_FRAME = 600
"""Bytes below which a packet is hardly one of many."""
_MAX_IP_PACKET = 65535
_ACK, _PSH = 0x10, 0x08
_GSO_TYPES = {4: GsoType.TCPV4, 6: GsoType.TCPV6}


class _Segment(NamedTuple):
    """A TCP packet taken apart."""

    frame: Frame
    headers: Headers
    flow: tuple[bytes, ...]
    """All of its headers that must be the same in the next."""
    seq: int
    flags: int
    size: int
    """Bytes of payload."""


def coalesce(frames: Iterable[Frame]) -> list[Frame]:
    """The frames, in order, with runs of TCP segments made one; all others as they are."""
    done: list[Frame] = []
    run: list[_Segment] = []
    total = 0
    for frame in frames:
        segment = _segment(frame)
        if run and (segment is None or not _follows(segment, run, total)):
            done.append(_joined(run))
            run, total = [], 0
        if segment is None:
            done.append(frame)
            continue
        run.append(segment)
        total += segment.size
        if segment.flags & _PSH or segment.size < run[0].size:
            done.append(_joined(run))
            run, total = [], 0
    if run:
        done.append(_joined(run))
    return done


def _segment(frame: Frame) -> _Segment | None:
    """A TCP segment that might be part of a run, else None."""
    data = frame.data
    if len(data) < _MIN_FRAME or frame.offload is not VALIDATED:
        return None
    headers = find_headers(data)
    if headers is None or headers.protocol != TCP:
        return None
    ip, tcp, payload = headers.ip, headers.transport, headers.payload
    flags = data[tcp + 13]
    if flags & ~_PSH != _ACK or payload - tcp != 20 + _option_bytes(data, tcp):
        return None
    if headers.version == 4:
        length, same = int.from_bytes(data[ip + 2 : ip + 4], "big"), (data[ip + 1], data[ip + 8])
        plain = tcp - ip == 20
        addresses = data[ip + 12 : ip + 20]
    else:
        length = 40 + int.from_bytes(data[ip + 4 : ip + 6], "big")
        same, plain = (data[ip + 1], data[ip + 7]), tcp - ip == 40
        addresses = data[ip + 8 : ip + 40]
    if not plain or ip + length != len(data):
        return None
    flow = (
        bytes(data[:ip]),
        bytes(same),
        bytes(addresses),
        bytes(data[tcp : tcp + 4]),
        bytes(data[tcp + 8 : tcp + 12]),
        bytes(data[tcp + 14 : tcp + 16]),
        bytes(data[tcp + 20 : payload]),
    )
    seq = int.from_bytes(data[tcp + 4 : tcp + 8], "big")
    return _Segment(frame, headers, flow, seq, flags, len(data) - payload)


def _option_bytes(data: bytes | memoryview, tcp: int) -> int:
    return (data[tcp + 12] >> 4) * 4 - 20


def _follows(segment: _Segment, run: list[_Segment], total: int) -> bool:
    """Whether a segment goes on where a run of ``total`` bytes of payload ends."""
    first = run[0]
    return (
        segment.flow == first.flow
        and segment.seq == (first.seq + total) % (1 << 32)
        and 0 < segment.size <= first.size
        and first.headers.payload - first.headers.ip + total + segment.size <= _MAX_IP_PACKET
    )


def _joined(run: list[_Segment]) -> Frame:
    """One packet of a run's payload."""
    if len(run) == 1:
        return run[0].frame
    first = run[0]
    headers = first.headers
    ip, tcp, start = headers.ip, headers.transport, headers.payload
    header = bytearray(first.frame.data[:start])
    payload = sum(segment.size for segment in run)
    header[tcp + 13] |= run[-1].flags & _PSH
    size = start - ip + payload
    if headers.version == 4:
        header[ip + 2 : ip + 4] = size.to_bytes(2, "big")
        set_ipv4_checksum(header, headers)
    else:
        header[ip + 4 : ip + 6] = (size - 40).to_bytes(2, "big")
    checksum = tcp + CSUM_OFFSET[TCP]
    partial = pseudo_header_sum(header, headers, payload) % 0xFFFF
    header[checksum : checksum + 2] = partial.to_bytes(2, "big")
    data = b"".join([header, *(segment.frame.data[start:] for segment in run)])
    kind = _GSO_TYPES[headers.version]
    left = Offload(OffloadFlag.NEEDS_CSUM, kind, start, first.size, tcp, CSUM_OFFSET[TCP])
    return Frame(data, left)
