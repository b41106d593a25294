"""What guests receive: frames of every kind in the slots that they offered, and what they said they can do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netfront import FEATURES, WRAP, Netfront
from test_vif_transmit import ethernet, is_disabled, tcp

from xenolith.abi.netif import (
    EXTRA_GSO,
    EXTRA_MCAST,
    RX_REQUEST,
    ExtraGso,
    ExtraMcast,
    ExtraType,
    GsoType,
    Rsp,
)
from xenolith.abi.ring import REQ_PROD
from xenolith.backends.xenbus import XenbusError
from xenolith.net import frame as frames
from xenolith.net.frame import VALIDATED, Offload, OffloadFlag

DATA_VALIDATED, CSUM_BLANK = 1, 2
GROUP = bytes.fromhex("01005e000001")
BLANK4 = Offload(OffloadFlag.NEEDS_CSUM, csum_start=34, csum_offset=16)


@pytest.fixture(params=[0, WRAP - 5], ids=["new", "wrapping"])
def front(request: pytest.FixtureRequest) -> Iterator[Netfront]:
    front = Netfront(start=request.param)
    yield front
    front.close()


@pytest.mark.parametrize("size", [14, 60, 1514, 4096, 4097, 65_535, 65_549])
def test_a_frame_of_any_size_arrives_in_as_many_pages(front: Netfront, size: int) -> None:
    front.deliver(ethernet(size))
    assert front.received() == [(ethernet(size), 0, [])]
    assert front.take_event(front.rx_ports[0])
    assert front.attachment.statistics.rx_bytes == size


def test_offloads_are_told_to_the_guest(front: Netfront) -> None:
    front.deliver(tcp(10), VALIDATED)
    front.deliver(tcp(10), BLANK4)
    front.deliver(
        tcp(40_000), BLANK4._replace(gso_type=frames.GsoType.TCPV4, header_length=54, gso_size=1448)
    )
    plain, blank, large = front.received()
    assert plain == (tcp(10), DATA_VALIDATED, [])
    assert blank == (tcp(10), DATA_VALIDATED | CSUM_BLANK, [])
    extra = EXTRA_GSO.pack(ExtraGso(ExtraType.GSO, 0, 1448, GsoType.TCPV4, 0, 0))
    assert large == (tcp(40_000), DATA_VALIDATED | CSUM_BLANK, [extra])


def test_a_guest_without_offloads_gets_finished_frames() -> None:
    front = Netfront(features={"request-rx-copy": "1", "feature-no-csum-offload": "1"})
    front.deliver(tcp(10), BLANK4)
    front.deliver(
        tcp(4000), BLANK4._replace(gso_type=frames.GsoType.TCPV4, header_length=54, gso_size=1000)
    )
    packets = front.received()
    assert [len(data) for data, _, _ in packets] == [64, 1054, 1054, 1054, 1054]
    assert all(flags == 0 and not extras for _, flags, extras in packets)
    assert packets[0][0][50:52] != tcp(10)[50:52]
    assert b"".join(data[54:] for data, _, _ in packets[1:]) == tcp(4000)[54:]
    front.close()


def test_frames_wait_in_order_until_the_guest_offers_room() -> None:
    front = Netfront(buffers=0)
    front.deliver(ethernet(100))
    front.deliver(ethernet(9000))
    assert front.received() == []
    front.offer(2)
    front.kick_rx()
    assert front.received() == [(ethernet(100), 0, [])]
    front.offer(1)
    front.kick_rx()
    assert front.received() == []
    front.offer(1)
    front.kick_rx()
    assert front.received() == [(ethernet(9000), 0, [])]
    front.close()


def test_a_grant_that_is_gone_costs_its_frame_and_no_more(front: Netfront) -> None:
    front = Netfront(buffers=0)
    ring = front.rx[0]
    ring.put(RX_REQUEST.pack((ring.produced % ring.size, 0, 1 << 20)))  # type: ignore[arg-type]
    front.offer(2)
    front.kick_rx()
    front.deliver(ethernet(5000))
    assert front.received() == [(b"", Rsp.ERROR, [])]
    front.deliver(ethernet(50))
    assert front.received() == [(ethernet(50), 0, [])]


def test_an_index_that_runs_away_ends_the_interface(front: Netfront) -> None:
    front.rx[0].words[REQ_PROD] = (front.rx[0].produced + 300) % WRAP
    front.deliver(ethernet(60))
    assert is_disabled(front)


@settings(max_examples=200)
@given(
    st.lists(st.binary(min_size=8, max_size=8), max_size=30),
    st.integers(0, 300),
    st.lists(st.integers(14, 9000), max_size=5),
)
def test_no_ring_contents_do_harm(slots: list[bytes], produced: int, sizes: list[int]) -> None:
    front = Netfront(buffers=0)
    try:
        for slot in slots:
            front.rx[0].put(slot)
        front.rx[0].words[REQ_PROD] = produced
        for size in sizes:
            front.deliver(ethernet(size))
        front.events.send(front.rx_ports[0])
        front.run()
    finally:
        front.close()


def test_what_the_network_says_of_a_frame_is_not_believed(front: Netfront) -> None:
    front.deliver(ethernet(60), BLANK4._replace(csum_start=60_000))
    front.deliver(ethernet(60), Offload(gso_type=frames.GsoType.TCPV4, gso_size=1448))
    front.deliver(ethernet(60), Offload(gso_type=77, gso_size=1))
    assert front.received() == []
    assert front.attachment.statistics.rx_dropped == 3
    front.deliver(ethernet(60))
    assert len(front.received()) == 1


def test_a_checksum_that_is_not_of_the_transport_is_completed_here(front: Netfront) -> None:
    front.deliver(ethernet(60), Offload(OffloadFlag.NEEDS_CSUM, csum_start=20, csum_offset=4))
    ((data, flags, _),) = front.received()
    assert flags == 0 and data != ethernet(60)
    assert data[:24] + data[26:] == ethernet(60)[:24] + ethernet(60)[26:]


def test_multicast_is_filtered_where_the_guest_asks_for_it() -> None:
    front = Netfront(features={**FEATURES, "request-multicast-control": "1"})

    def hears(target: bytes) -> bool:
        front.deliver(target + ethernet(60)[6:])
        return bool(front.received())

    def change(kind: ExtraType) -> None:
        front.transmit(ethernet(60), 0, [EXTRA_MCAST.pack(ExtraMcast(kind, 0, GROUP))])

    assert not hears(GROUP)
    assert hears(b"\xff" * 6) and hears(ethernet(60)[:6])
    change(ExtraType.MCAST_ADD)
    assert hears(GROUP)
    change(ExtraType.MCAST_DEL)
    assert not hears(GROUP)
    for number in range(100):
        address = b"\x01\0\0\0\0" + bytes([number])
        front.transmit(
            ethernet(60), 0, [EXTRA_MCAST.pack(ExtraMcast(ExtraType.MCAST_ADD, 0, address))]
        )
    assert hears(b"\x01\0\0\0\0\x3f") and not hears(b"\x01\0\0\0\0\x40")
    front.close()


def test_a_guest_may_change_its_mind_about_multicast() -> None:
    front = Netfront()
    assert front.backend.features()["feature-dynamic-multicast-control"] == "1"
    assert front.backend.watched() == ("request-multicast-control",)
    for wish, heard in ((1, 0), (0, 1), (1, 0)):
        front.backend.changed({**front.nodes, "request-multicast-control": str(wish)})
        front.deliver(GROUP + ethernet(60)[6:])
        assert len(front.received()) == heard
    front.close()


def test_each_flow_has_one_queue_and_many_flows_have_all() -> None:
    front = Netfront(queues=4)
    for number in range(64):
        flow = bytearray(tcp(20))
        flow[35] = number
        for _ in range(2):
            front.deliver(bytes(flow))
    by_queue = [[data[35] for data, _, _ in front.received(queue)] for queue in range(4)]
    assert all(by_queue)
    assert sorted(flow for flows in by_queue for flow in flows) == sorted([*range(64)] * 2)
    assert not any(set(a) & set(b) for a in by_queue for b in by_queue if a is not b)
    for queue in range(4):
        front.put_packet(ethernet(100 + queue), queue=queue)
        front.kick(queue)
    assert [front.sent() is not None for _ in range(5)] == [True] * 4 + [False]
    front.close()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({}, "only frontends that receive by copying"),
        ({"request-rx-copy": "1", "multi-queue-num-queues": "9"}, "9 queues"),
        ({"request-rx-copy": "1", "multi-queue-num-queues": "0"}, "0 queues"),
        ({"request-rx-copy": "1", "tx-ring-ref": "x"}, "tx-ring-ref"),
    ],
)
def test_frontends_that_make_no_sense_are_refused(nodes: dict[str, str], message: str) -> None:
    front = Netfront()
    front.backend.disconnect(lambda: None)
    with pytest.raises(XenbusError, match=message):
        front.backend.connect(nodes)
    front.close()


def test_a_frontend_comes_back_and_goes_on(front: Netfront) -> None:
    front.deliver(ethernet(60))
    front.backend.disconnect(lambda: None)
    front.deliver(ethernet(61))
    assert len(front.received()) == 1
    assert not front.grants.is_pinned(front.memory.mfn_of(16))  # type: ignore[arg-type]
    front.backend.connect(front.nodes)
    front.run()
    front.deliver(ethernet(62))
    assert [data for data, _, _ in front.received()] == [ethernet(62)]
    assert front.transmit(ethernet(63)) is not None
