"""Runs of TCP segments made one packet: what is cut comes together, what differs stays apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import header_sum, tcp4, tcp6, udp4

from xenolith.net.coalesce import coalesce
from xenolith.net.frame import NOTHING, VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.headers import find_headers
from xenolith.net.software_offload import EVERYTHING, Ability, settle

ACK, PSH_ACK = 0x10, 0x18


def validated(frame: Frame) -> Frame:
    return Frame(bytes(frame.data), VALIDATED)


def cut(whole: bytes, kind: GsoType, size: int) -> list[Frame]:
    """Segments as passt sends them."""
    headers = find_headers(whole)
    assert headers is not None
    offload = Offload(OffloadFlag.NEEDS_CSUM, kind, headers.payload, size, headers.transport, 16)
    return [validated(frame) for frame in settle(Frame(whole, offload), Ability(0))]


@given(st.integers(1200, 60_000), st.sampled_from([1460, 1448, 900]), st.integers(0, 2**32 - 1))
def test_segments_come_together_and_can_be_cut_again(length: int, size: int, seq: int) -> None:
    payload = bytes(range(256)) * (length // 256 + 1)
    for make, kind in ((tcp4, GsoType.TCPV4), (tcp6, GsoType.TCPV6)):
        whole = make(payload[:length], flags=PSH_ACK, seq=seq)
        segments = cut(whole, kind, size)
        joined = coalesce(segments)
        assert b"".join(map(payload_of, joined)) == payload[:length]
        # A last segment that is very short stays alone.
        assert len(joined) <= 2
        if kind == GsoType.TCPV4:
            assert all(header_sum(bytes(frame.data)) == 0xFFFF for frame in joined)
        again = [
            validated(part)
            for frame in joined
            for part in settle(frame, EVERYTHING & ~(Ability.TSO4 | Ability.TSO6))
        ]
        if length > 2 * size:
            assert joined[0].offload.gso_size == size
        assert [without_id(f) for f in again] == [without_id(f) for f in segments]


def payload_of(frame: Frame) -> bytes:
    headers = find_headers(frame.data)
    assert headers is not None
    return bytes(frame.data[headers.payload :])


def without_id(frame: Frame) -> bytes:
    """A frame but for what numbers IPv4 packets, and the checksum over that."""
    data = bytearray(frame.data)
    if data[12:14] == b"\x08\x00":
        data[18:20] = data[24:26] = b"\0\0"
    return bytes(data)


def segment(seq: int, size: int = 1000, flags: int = ACK, options: bytes = b"") -> Frame:
    return Frame(tcp4(bytes(size), flags=flags, seq=seq, options=options), VALIDATED)


def other_port(frame: Frame) -> Frame:
    data = bytearray(frame.data)
    data[34] ^= 1
    return Frame(bytes(data), VALIDATED)


@pytest.mark.parametrize(
    "second",
    [
        segment(2002),
        segment(1001, 1001),
        segment(1001, flags=0x11),
        segment(1001, flags=0x30),
        segment(1001, options=b"\x01" * 4),
        other_port(segment(1001)),
        Frame(segment(1001).data, NOTHING),
        Frame(udp4(bytes(1000)), VALIDATED),
        Frame(bytes(segment(1001).data) + b"padding", VALIDATED),
    ],
    ids=["gap", "larger", "FIN", "URG", "options", "flow", "not validated", "UDP", "padded"],
)
def test_what_does_not_follow_stays_apart(second: Frame) -> None:
    assert coalesce([segment(1), second]) == [segment(1), second]


def test_a_push_ends_a_run() -> None:
    joined = coalesce([segment(1), segment(1001, flags=PSH_ACK), segment(2001), segment(3001)])
    assert [len(frame.data) for frame in joined] == [2054, 2054]
    assert [frame.data[47] for frame in joined] == [PSH_ACK, ACK]


def test_a_packet_is_never_larger_than_ip_allows() -> None:
    joined = coalesce([segment(1 + 1000 * number) for number in range(200)])
    assert max(len(frame.data) for frame in joined) <= 65_535 + 14
    assert sum(len(frame.data) - 54 for frame in joined) == 200_000


@given(st.lists(st.binary(max_size=100), max_size=5), st.integers(0, 90), st.integers(0, 255))
def test_no_frame_does_harm(extra: list[bytes], at: int, value: int) -> None:
    frames = [segment(1), segment(1001), segment(2001)]
    poked = bytearray(frames[1].data)
    poked[at] = value
    frames[1] = Frame(bytes(poked), VALIDATED)
    frames += [Frame(data, VALIDATED) for data in extra]
    coalesce(frames)
