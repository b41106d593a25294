"""Where the headers of frames are found, and that no frame leads astray."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packets import ipv4, ipv6, tcp4, tcp6, udp4

from xenolith.net.headers import TCP, UDP, Headers, find_headers

VLAN = bytes.fromhex("8100002a")


def test_plain_packets() -> None:
    assert find_headers(tcp4(b"x")) == Headers(4, 14, 34, TCP, 54)
    assert find_headers(tcp6(b"x")) == Headers(6, 14, 54, TCP, 74)
    assert find_headers(udp4(b"x")) == Headers(4, 14, 34, UDP, 42)
    assert find_headers(tcp4(b"x", options=b"\x01" * 12)) == Headers(4, 14, 34, TCP, 66)


def test_behind_tags_options_and_extensions() -> None:
    body = tcp4(b"x")[34:]
    assert find_headers(ipv4(TCP, body, options=b"\x01" * 8)) == Headers(4, 14, 42, TCP, 62)
    assert find_headers(ipv4(TCP, body, vlans=VLAN * 2)) == Headers(4, 22, 42, TCP, 62)
    hop_by_hop = bytes([TCP, 0]) + bytes(6)
    frame = ipv6(TCP, body, extensions=hop_by_hop, following=0)
    assert find_headers(frame) == Headers(6, 14, 62, TCP, 82)


def test_what_has_no_transport_to_offload() -> None:
    fragment = bytearray(tcp4(b"x"))
    fragment[20:22] = b"\x20\x00"
    assert find_headers(bytes(fragment)) is None
    assert find_headers(ipv4(1, b"\x08\0" * 20)) is None
    assert find_headers(tcp4(b"x")[:12] + b"\x08\x06" + bytes(28)) is None
    assert find_headers(ipv4(TCP, tcp4(b"x")[34:], vlans=VLAN * 3)) is None
    short_header = bytearray(tcp4(b"x"))
    short_header[34 + 12] = 0x40
    assert find_headers(bytes(short_header)) is None


@given(st.integers(0, 80), st.integers(0, 79), st.integers(0, 255))
def test_a_cut_or_poked_frame_has_its_headers_within_it_or_none(
    size: int, at: int, value: int
) -> None:
    for frame in (tcp4(b"payload" * 4), tcp6(b"payload" * 4), udp4(b"payload" * 6)):
        poked = bytearray(frame)
        poked[at % len(poked)] = value
        for data in (bytes(poked), bytes(poked[:size])):
            headers = find_headers(data)
            assert headers is None or headers.payload <= len(data)
