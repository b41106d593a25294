"""What guests receive over netchannel2: in messages and granted pages, which are used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netchannel2_frontend import MAP, SMALL, Front
from netfront import WRAP
from test_vif_transmit import ethernet, tcp

from xenolith.backends.xenbus import XenbusError
from xenolith.net.frame import NOTHING, VALIDATED, GsoType, Offload, OffloadFlag

BLANK, VALID = 1, 2
BLANK4 = Offload(OffloadFlag.NEEDS_CSUM, csum_start=34, csum_offset=16)


@pytest.fixture(params=[0, WRAP - 64], ids=["new", "wrapping"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    front = Front(start=request.param)
    yield front
    front.close()


@pytest.mark.parametrize("size", [14, 60, 256, 257, 1514, 4096, 4224, 4225, 65_536])
def test_a_frame_of_any_size_arrives(front: Front, size: int) -> None:
    front.deliver(ethernet(size))
    (packet,) = front.received()
    assert packet.data == ethernet(size)
    assert packet.type == (SMALL if size <= 256 else MAP)
    assert (packet.flags, packet.segmentation) == (0, 0)
    assert front.attachment.statistics.rx_bytes == size


def test_a_frame_larger_than_a_packet_is_dropped(front: Front) -> None:
    front.deliver(ethernet(65_537))
    assert front.received() == []
    assert front.attachment.statistics.rx_dropped == 1


def test_pages_are_used_again(front: Front) -> None:
    used = set()
    for size in range(300, 800):
        front.deliver(ethernet(size))
        (packet,) = front.received()
        assert packet.data == ethernet(size)
        used |= set(packet.refs)
    assert len(used) <= 18


def test_what_is_not_finished_is_not_used_again() -> None:
    front = Front(order=2)
    for size in range(1000, 1060):
        front.deliver(ethernet(size))
    packets = front.received(finish=False)
    assert [len(packet.data) for packet in packets] == list(range(1000, 1060))
    assert len({ref for packet in packets for ref in packet.refs}) == 60
    assert len({packet.id for packet in packets}) == 60
    front.close()


def test_nothing_comes_before_the_guest_has_said_how_much_it_takes() -> None:
    front = Front(greet=False)
    front.deliver(ethernet(60))
    front.deliver(ethernet(600))
    assert front.received() == []
    front.send(1, b"\x08\0\0\0")
    assert [packet.data for packet in front.received()] == [ethernet(60), ethernet(600)]
    front.close()


def test_no_more_packets_are_under_way_than_the_guest_allows() -> None:
    front = Front(max_packets=3)
    for size in range(1000, 1010):
        front.deliver(ethernet(size))
    packets = front.received(finish=False)
    assert [len(packet.data) for packet in packets] == [1000, 1001, 1002]
    front.send(3, packets[1].id.to_bytes(4, "little"))
    (fourth,) = front.received(finish=False)
    assert len(fourth.data) == 1003 and fourth.refs == packets[1].refs
    for packet in (packets[0], packets[2], fourth):
        front.send(3, packet.id.to_bytes(4, "little"))
    rest = [packet for _ in range(6) for packet in front.received()]
    assert [len(packet.data) for packet in rest] == list(range(1004, 1010))
    front.close()


def test_frames_wait_in_order_until_the_ring_has_room(front: Front) -> None:
    sizes = [100 + number % 150 for number in range(90)]
    for size in sizes:
        front.deliver(ethernet(size))
    received: list[int] = []
    while len(received) < len(sizes):
        packets = front.received()
        assert packets
        received += [len(packet.data) for packet in packets]
    assert received == sizes


def test_finishing_always_finds_room_beside_what_is_received() -> None:
    front = Front()
    fragments = front.fragments(ethernet(600)[100:], [500])
    for _ in range(60):
        front.deliver(ethernet(256))
    for number in range(64):
        front.pairs[0].send(2, front.packet(ethernet(600), fragments=fragments, ident=number))
        front.kick()
    assert front.finished() == list(range(64))
    assert not front.is_disabled
    front.close()


def test_more_packets_than_were_allowed_end_the_interface() -> None:
    front = Front()
    fragments = front.fragments(ethernet(600)[100:], [500])
    body = front.packet(ethernet(600), fragments=fragments)
    for _ in range(60):
        front.deliver(ethernet(256))
    for _ in range(600):
        front.send(2, body)
        front.sent()
    assert front.is_disabled and "were allowed" in front.log[-1]
    front.close()


def test_offloads_are_told_to_the_guest(front: Front) -> None:
    front.deliver(tcp(10), BLANK4)
    (packet,) = front.received()
    assert (packet.flags, packet.csum_start, packet.csum_offset) == (BLANK | VALID, 34, 50)
    front.deliver(tcp(10), VALIDATED)
    assert front.received()[0].flags == VALID
    large = BLANK4._replace(gso_type=GsoType.TCPV4, header_length=54, gso_size=1448)
    front.deliver(tcp(60_000), large)
    (packet,) = front.received()
    assert packet.data == tcp(60_000)
    assert (packet.segmentation, packet.mss, packet.flags) == (1, 1448, BLANK | VALID)


@pytest.mark.parametrize("options", [{"offload": False}, {"max_fragments": 1}])
def test_a_guest_that_takes_no_large_packets_gets_segments(options: dict[str, int]) -> None:
    front = Front(**options)  # type: ignore[arg-type]
    large = BLANK4._replace(gso_type=GsoType.TCPV4, header_length=54, gso_size=1448)
    front.deliver(tcp(1448 * 5), large)
    packets = front.received()
    assert [len(packet.data) for packet in packets] == [54 + 1448] * 5
    assert {(packet.segmentation, packet.flags & BLANK) for packet in packets} == {(0, 0)}
    front.close()


def test_large_tcp6_packets_are_cut_for_there_is_no_other_way(front: Front) -> None:
    large = Offload(OffloadFlag.NEEDS_CSUM, GsoType.TCPV6, 74, 1428, 54, 16)
    front.deliver(tcp(1428 * 3, version=6), large)
    assert [len(packet.data) for packet in front.received()] == [74 + 1428] * 3


def test_a_frame_of_more_fragments_than_the_guest_takes_is_dropped() -> None:
    front = Front(max_fragments=2)
    for size in (128 + 2 * 4096, 128 + 2 * 4096 + 1):
        front.deliver(ethernet(size))
    (packet,) = front.received()
    assert len(packet.data) == 128 + 2 * 4096
    assert front.attachment.statistics.rx_dropped == 1
    front.close()


def test_what_the_network_says_of_a_frame_is_not_believed(front: Front) -> None:
    front.deliver(ethernet(100), Offload(OffloadFlag.NEEDS_CSUM, csum_start=90, csum_offset=60))
    assert front.received() == []
    assert front.attachment.statistics.rx_dropped == 1


def test_each_flow_has_one_channel_and_many_flows_have_all() -> None:
    front = Front(queues=3)
    flows = []
    for port in range(40):
        flow = bytearray(tcp(10))
        flow[34:36] = (2000 + port).to_bytes(2, "big")
        flows.append(bytes(flow))
    for data in flows + flows:
        front.deliver(data, NOTHING)
    received = [[packet.data for packet in front.received(number)] for number in range(3)]
    assert sorted([*received[0], *received[1], *received[2]]) == sorted(flows + flows)
    assert all(received)
    assert not set(received[0]) & set(received[1])
    front.transmit(ethernet(300), queue=2)
    assert front.sent() is not None
    assert front.finished(2) == [1]
    front.close()


def test_pages_of_a_guest_without_room_for_them_are_few_but_do() -> None:
    front = Front(xen_frames=22)
    for size in range(1000, 1040):
        front.deliver(ethernet(size))
    sizes: list[int] = []
    while packets := front.received():
        sizes += [len(packet.data) for packet in packets]
    assert sizes == list(range(1000, 1040))
    front.close()


def test_an_interface_gives_all_its_frames_back() -> None:
    front = Front()
    front.backend.disconnect(lambda: None)
    free = front.memory.free_frames
    front.backend.connect(front.nodes)
    front.run()
    front.deliver(ethernet(5000))
    assert front.memory.free_frames < free
    front.backend.disconnect(lambda: None)
    assert front.memory.free_frames == free
    front.close()


def test_a_frontend_comes_back_and_goes_on(front: Front) -> None:
    front.deliver(ethernet(600))
    front.received()
    front.backend.disconnect(lambda: None)
    front.backend.connect(front.nodes)
    front.run()
    front.deliver(ethernet(60))
    front.transmit(ethernet(600), ident=9)
    front.send(1, b"\x08\0\0\0")
    assert [packet.data for packet in front.received()] == [ethernet(60)]
    assert front.finished() == [9]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"control-gref": None}, "there is no control-gref"),
        ({"event-channel": None}, "there is no event-channel"),
        ({"prod-gref-0": None}, "there is no prod-gref-0"),
        ({"cons-gref-0": "-1"}, "cons-gref-0 is '-1', not a number"),
        ({"cons-order": "5"}, "a ring of 2^5 pages is larger than 2^4"),
        ({"cons-order": "1"}, "there is no cons-gref-1"),
        ({"multi-queue-num-queues": "0"}, "0 queues are not between 1 and 8"),
        ({"multi-queue-num-queues": "9"}, "9 queues are not between 1 and 8"),
        ({"multi-queue-num-queues": "2"}, "there is no queue-0/control-gref"),
    ],
)
def test_frontends_that_make_no_sense_are_refused(
    nodes: dict[str, str | None], message: str
) -> None:
    front = Front()
    front.backend.disconnect(lambda: None)
    changed = {**front.nodes, **nodes}
    with pytest.raises(XenbusError, match=message.replace("^", r"\^")):
        front.backend.connect({name: text for name, text in changed.items() if text is not None})
    front.backend.disconnect(lambda: None)
    front.close()
