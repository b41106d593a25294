"""What guests send over netchannel2: packets of every shape reach the network, and are finished."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from netchannel2_frontend import COPY, MAP, SMALL, Front
from netfront import WRAP
from test_vif_transmit import ethernet, tcp

from xenolith.abi.grant_table import GTF_permit_access
from xenolith.net.frame import VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.token_bucket import TokenBucket

BLANK, VALID = 1, 2
TCP4 = (34, 50)
"""Where the checksum of a TCP packet begins, and where it is, from the frame's start."""


@pytest.fixture(params=[0, WRAP - 64], ids=["new", "wrapping"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    front = Front(start=request.param)
    yield front
    front.close()


def test_the_backend_says_at_once_what_it_takes(front: Front) -> None:
    assert front.answer == {}
    assert front.features == {"max-ring-page-order": "4", "multi-queue-max-queues": "8"}
    bodies = {message.type: message.body for message in front.others()}
    assert bodies == {1: b"\x40\0\0\0", 5: b"\x12\0\0\0", 4: b"\1\1\0\0"}
    assert front.take_event(front.pairs[0].port)


@pytest.mark.parametrize("kind", [COPY, MAP])
@pytest.mark.parametrize("size", [14, 60, 1514, 4096, 4197, 65_536])
def test_a_frame_of_any_size_arrives(front: Front, kind: int, size: int) -> None:
    front.transmit(ethernet(size), kind=kind, ident=0xFEEDBEEF)
    assert front.sent() == Frame(ethernet(size))
    assert front.finished() == [0xFEEDBEEF]
    assert front.attachment.statistics.tx_bytes == size


@pytest.mark.parametrize("prefix", [0, 1, 14, 255, 256])
def test_a_prefix_of_any_size_comes_first(front: Front, prefix: int) -> None:
    front.transmit(ethernet(900), prefix=prefix)
    assert front.sent() == Frame(ethernet(900))
    assert front.finished() == [1]


@pytest.mark.parametrize("size", [14, 60, 256])
def test_a_small_packet_is_not_finished(front: Front, size: int) -> None:
    front.transmit(ethernet(size), kind=SMALL)
    assert front.sent() == Frame(ethernet(size))
    assert front.finished() == []


def test_fragments_of_any_sizes_make_one_frame(front: Front) -> None:
    fragments = front.fragments(ethernet(3100)[100:], [1, 2000, 0, 999])
    front.transmit(ethernet(3100), fragments=fragments)
    assert front.sent() == Frame(ethernet(3100))


def test_a_grant_is_used_again_and_again(front: Front) -> None:
    fragments = front.fragments(ethernet(700)[100:], [600])
    for number in range(300):
        front.transmit(ethernet(700), fragments=fragments, ident=number)
        assert front.sent() == Frame(ethernet(700))
        assert front.finished() == [number]
    assert not front.is_disabled


def test_many_packets_go_with_one_event(front: Front) -> None:
    front.finished()
    front.take_event(front.pairs[0].port)
    fragments = front.fragments(ethernet(700)[100:], [600])
    for number in range(20):
        front.pairs[0].send(2, front.packet(ethernet(700), fragments=fragments, ident=number))
    front.kick()
    assert [front.sent() for _ in range(21)] == [Frame(ethernet(700))] * 20 + [None]
    assert front.finished() == list(range(20))
    assert front.take_event(front.pairs[0].port)


def test_offloads_are_told_to_the_network(front: Front) -> None:
    partial = Offload(OffloadFlag.NEEDS_CSUM, csum_start=34, csum_offset=16)
    front.transmit(tcp(10), flags=BLANK, csum=TCP4)
    assert front.sent() == Frame(tcp(10), partial)
    front.transmit(tcp(10), flags=VALID)
    assert front.sent() == Frame(tcp(10), VALIDATED)
    front.transmit(tcp(60_000), flags=BLANK, csum=TCP4, segmentation=1, mss=1448)
    large = partial._replace(gso_type=GsoType.TCPV4, header_length=54, gso_size=1448)
    assert front.sent() == Frame(tcp(60_000), large)
    front.transmit(tcp(10, version=6), flags=BLANK, csum=(54, 70))
    assert front.sent() == Frame(
        tcp(10, version=6), Offload(OffloadFlag.NEEDS_CSUM, csum_start=54, csum_offset=16)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"data": ethernet(13)[:13]},
        {"data": b""},
        {"fragments": [(100, 0, 1 << 30)]},
        {"fragments": [(100, 4000, 8)]},
        {"fragments": [(65_535, 0, 8)]},
        {"fragments": [(4096, 0, 8)] * 17},
        {"fragments": [(1, 0, 8)] * 19},
        {"fragments": [(1, 0, 8)] * 300},
        {"flags": BLANK, "csum": TCP4},
        {"data": tcp(100), "flags": BLANK, "csum": (0, 0)},
        {"data": tcp(100), "flags": BLANK, "csum": (34, 65_535)},
        {"data": tcp(100), "segmentation": 1},
        {"data": tcp(100), "segmentation": 2, "mss": 1000},
        {"data": tcp(100, version=6), "segmentation": 1, "mss": 1000},
    ],
    ids=[
        "short", "empty", "no reference", "beyond the page", "much beyond the page",
        "more than a packet", "too many fragments", "far too many fragments", "no transport",
        "checksum elsewhere", "checksum beyond the end", "segments of no size",
        "segments of no kind", "segments of another version",
    ],
)  # fmt: skip
def test_a_packet_that_is_wrong_is_finished_and_no_more(
    front: Front, options: dict[str, Any]
) -> None:
    wrong = {"data": ethernet(100), **options}
    front.set_entry(8, 300, GTF_permit_access)
    front.transmit(ident=77, **wrong)
    assert front.sent() is None
    assert front.finished() == [77]
    assert not front.is_disabled
    front.transmit(ethernet(60))
    assert front.sent() == Frame(ethernet(60))


@pytest.mark.parametrize(("flags", "domid", "gfn"), [(0, 0, 5), (1, 3, 5), (1, 0, 1 << 30)])
def test_a_bad_grant_costs_its_packet_and_no_more(
    front: Front, flags: int, domid: int, gfn: int
) -> None:
    ref = front.grant(gfn, flags, domid)
    front.transmit(ethernet(200), fragments=[(100, 0, ref)], ident=5)
    assert front.sent() is None
    assert front.finished() == [5]
    assert not front.is_disabled


def test_frames_of_another_address_are_dropped_where_they_are_filtered() -> None:
    front = Front(own_address=bytes.fromhex("00163e000001"))
    front.transmit(ethernet(100))
    assert front.sent() == Frame(ethernet(100))
    stranger = bytearray(ethernet(100))
    stranger[11] = 9
    front.transmit(bytes(stranger), ident=2)
    assert front.sent() is None
    assert front.finished() == [1, 2]
    assert front.attachment.statistics.tx_dropped == 1
    front.close()


def test_a_network_without_room_makes_the_guest_wait_and_loses_nothing() -> None:
    front = Front(order=4)
    fragments = front.fragments(ethernet(60_100)[100:], [4096] * 14 + [60_000 - 14 * 4096])
    body = front.packet(ethernet(60_100), fragments=fragments)
    for _ in range(200):
        front.pairs[0].send(2, body)
    front.kick()
    assert len(front.finished()) < 200
    received = 0
    while received < 200:
        frame = front.sent()
        if frame is not None:
            assert frame.data == ethernet(60_100)
            received += 1
        front.run()
    assert front.sent() is None
    front.finished()
    front.close()


def test_the_rate_is_limited() -> None:
    now = [100.0]
    front = Front(rate=TokenBucket(3000, 50_000, lambda: now[0]))
    fragments = front.fragments(ethernet(1500)[100:], [1400])
    for number in range(5):
        front.pairs[0].send(2, front.packet(ethernet(1500), fragments=fragments, ident=number))
    front.kick()
    assert [front.sent() is not None for _ in range(3)] == [True, True, False]
    assert front.finished() == [0, 1]
    (timer,) = front.timers
    now[0] = timer[0]
    timer[1]()
    assert [front.sent() is not None for _ in range(3)] == [True, True, False]
    front.close()


def test_a_network_that_is_gone_drops_packets_and_is_told_once() -> None:
    front = Front()
    front.hang_up()
    for number in range(3):
        front.transmit(ethernet(600), ident=number)
    assert front.finished() == [0, 1, 2]
    assert len(front.log) == 1 and "the network is gone" in front.log[0]
    front.close()


def test_rings_that_are_broken_when_the_network_goes_end_the_interface_once() -> None:
    front = Front()
    front.hang_up()
    for number in range(64):
        front.pairs[0].send(2, front.packet(ethernet(14), kind=SMALL, ident=number))
    front.pairs[0].send(99, b"abcd", size=3)
    front.kick()
    assert front.is_disabled
    assert len([line for line in front.log if "fatal error" in line]) == 1
    front.close()
