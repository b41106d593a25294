"""Checksums and segments made in software, against the arithmetic of the RFCs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import header_sum, ipv4, tcp4, tcp6, transport_sum, udp4, with_pseudo_sum, word_sum

from xenolith.net.errors import FrameError
from xenolith.net.frame import (
    MAX_FRAME,
    NOTHING,
    Frame,
    GsoType,
    Offload,
    OffloadFlag,
    unpack_offload,
)
from xenolith.net.headers import find_headers
from xenolith.net.software_offload import EVERYTHING, Ability, ones_complement_sum, settle

NOT_ABLE = Ability(0)


def blank(frame: bytes) -> Offload:
    headers = find_headers(frame)
    assert headers is not None
    offset = 16 if headers.protocol == 6 else 6
    return Offload(OffloadFlag.NEEDS_CSUM, csum_start=headers.transport, csum_offset=offset)


def large(frame: bytes, kind: GsoType, size: int) -> Offload:
    return blank(frame)._replace(gso_type=kind, gso_size=size)


@given(st.binary(max_size=200))
def test_the_sum_is_that_of_16_bit_words(data: bytes) -> None:
    assert ones_complement_sum(data) % 0xFFFF == word_sum(data) % 0xFFFF


@given(st.binary(max_size=300))
def test_a_blank_checksum_is_completed(payload: bytes) -> None:
    for whole in (tcp4(payload), tcp6(payload), udp4(payload)):
        frame = with_pseudo_sum(whole)
        (done,) = settle(Frame(frame, blank(frame)), NOT_ABLE)
        assert transport_sum(bytes(done.data)) == 0xFFFF
        assert done.offload is NOTHING


def test_a_receiver_that_is_able_gets_the_frame_as_it_is() -> None:
    frame = Frame(with_pseudo_sum(tcp4(b"x")), blank(tcp4(b"x")))
    assert settle(frame, Ability.CSUM_IPV4) == [frame]
    assert settle(frame, Ability.CSUM_IPV6) != [frame]
    whole = Frame(tcp4(b"x" * 4000), large(tcp4(b"x"), GsoType.TCPV4, 1000))
    assert settle(whole, EVERYTHING) == [whole]
    assert len(settle(whole, EVERYTHING & ~Ability.TSO4)) == 4


@given(
    st.binary(min_size=1, max_size=9000),
    st.integers(8, 2000),
    st.sampled_from([b"", b"\x01" * 12]),
    st.integers(0, 0xFFFFFFFF),
)
def test_segments_carry_the_payload_and_are_right(
    payload: bytes, size: int, options: bytes, seq: int
) -> None:
    for make, kind in ((tcp4, GsoType.TCPV4), (tcp6, GsoType.TCPV6)):
        whole = make(payload, flags=0x9D, seq=seq, options=options)
        segments = settle(Frame(whole, large(whole, kind, size)), NOT_ABLE)
        received = b""
        for number, (data, offload) in enumerate(segments):
            segment = bytes(data)
            headers = find_headers(segment)
            assert headers is not None and offload is NOTHING
            assert transport_sum(segment) == 0xFFFF
            if kind == GsoType.TCPV4:
                assert header_sum(segment) == 0xFFFF
                assert int.from_bytes(segment[18:20], "big") == (0xFFFF + number) % 0x10000
            at = headers.transport
            assert int.from_bytes(segment[at + 4 : at + 8], "big") == (seq + len(received)) % 2**32
            assert bool(segment[at + 13] & 0x80) == (number == 0)
            assert bool(segment[at + 13] & 0x09) == (number == len(segments) - 1)
            part = segment[headers.payload :]
            assert 0 < len(part) <= size
            received += part
        assert received == payload


@pytest.mark.parametrize(
    "offload",
    [
        Offload(OffloadFlag.NEEDS_CSUM, csum_start=65535, csum_offset=65535),
        Offload(OffloadFlag.NEEDS_CSUM, csum_start=54, csum_offset=65000),
        Offload(gso_type=GsoType.TCPV6, gso_size=10),
        Offload(gso_type=GsoType.TCPV4, gso_size=0),
        Offload(gso_type=3, gso_size=1000),
        Offload(gso_type=255, gso_size=1000),
    ],
)
def test_what_cannot_be_done_is_refused(offload: Offload) -> None:
    with pytest.raises(FrameError):
        settle(Frame(tcp4(b"payload"), offload), NOT_ABLE)


def test_a_packet_is_not_cut_into_crumbs() -> None:
    """A domain that sends it would have another one make 65,000 frames of it."""
    whole = tcp4(b"x" * 65000)
    with pytest.raises(FrameError):
        settle(Frame(whole, large(whole, GsoType.TCPV4, 1)), NOT_ABLE)
    assert len(settle(Frame(whole, large(whole, GsoType.TCPV4, 48)), NOT_ABLE)) == 1355


@pytest.mark.parametrize(("make", "kind"), [(tcp4, GsoType.TCPV4), (tcp6, GsoType.TCPV6)])
def test_a_packet_is_no_longer_than_its_header_can_say(
    make: Callable[[bytes], bytes], kind: GsoType
) -> None:
    template = make(b"")
    whole = template.ljust(MAX_FRAME, b"x")
    with pytest.raises(FrameError):
        settle(Frame(whole, large(whole, kind, 65535)), NOT_ABLE)


def test_only_tcp_is_cut() -> None:
    for frame in (udp4(b"x" * 3000), b"short", ipv4(1, b"icmp" * 10)):
        with pytest.raises(FrameError):
            settle(Frame(frame, Offload(gso_type=GsoType.TCPV4, gso_size=1000)), NOT_ABLE)


@given(
    st.integers(0, 255), st.sampled_from(GsoType), *[st.integers(0, 0xFFFF)] * 4, st.integers(0, 15)
)
def test_what_is_left_to_do_is_within_the_frame(
    flags: int, kind: GsoType, header: int, size: int, start: int, offset: int, able: int
) -> None:
    """Whoever hands a frame on may write the numbers down in 16 bits."""
    for whole in (tcp4(b"x" * 100), tcp6(b"x" * 100), udp4(b"x"), b"short"):
        frame = Frame(whole, Offload(flags, kind, header, size, start, offset))
        try:
            settled = settle(frame, Ability(able))
        except FrameError:
            continue
        for data, left in settled:
            assert left.csum_start + left.csum_offset <= len(data)
            assert not left.gso_type or left.gso_size


@given(st.binary(max_size=120), st.binary(min_size=10, max_size=10))
def test_no_frame_and_no_header_do_harm(data: bytes, header: bytes) -> None:
    for whole in (data, tcp4(data), tcp6(data)[: len(data)]):
        try:
            settle(Frame(whole, unpack_offload(header)), NOT_ABLE)
        except FrameError:
            continue
