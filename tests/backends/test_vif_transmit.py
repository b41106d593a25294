"""What guests transmit: packets of every shape reach the network, malformed ones end the interface or nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netfront import WRAP, Netfront

from xenolith.abi.grant_table import GTF_permit_access
from xenolith.abi.netif import EXTRA_GSO, EXTRA_MCAST, ExtraGso, ExtraMcast, ExtraType, Rsp
from xenolith.abi.ring import REQ_PROD
from xenolith.backends.net import Line
from xenolith.machine.address import PAGE_SIZE
from xenolith.net.frame import NOTHING, VALIDATED, Frame, GsoType, Offload, OffloadFlag
from xenolith.net.token_bucket import TokenBucket
from xenolith.net.wire import MessageWire

CSUM_BLANK, DATA_VALIDATED, MORE, EXTRA = 1, 2, 4, 8
PAYLOAD = bytes(range(256)) * 300


def ethernet(size: int) -> bytes:
    return bytes.fromhex("00163e000002 00163e000001 1234") + PAYLOAD[: size - 14]


def tcp(payload: int, *, version: int = 4) -> bytes:
    header = bytes.fromhex("03e807d0 00000001 00000007 5018 01f4 0000 0000")
    if version == 4:
        ip = (
            bytes.fromhex("4500")
            + (40 + payload).to_bytes(2, "big")
            + bytes.fromhex("0001 4000 40 06 0000 0a000001 0a000002")
        )
        return bytes.fromhex("00163e000002 00163e000001 0800") + ip + header + PAYLOAD[:payload]
    ip = bytes.fromhex("60000000") + (20 + payload).to_bytes(2, "big") + b"\x06\x40" + bytes(32)
    return bytes.fromhex("00163e000002 00163e000001 86dd") + ip + header + PAYLOAD[:payload]


def gso(kind: int = 1, size: int = 1448, flags: int = 0) -> bytes:
    return EXTRA_GSO.pack(ExtraGso(ExtraType.GSO, flags, size, kind, 0, 0))


@pytest.fixture(params=[0, WRAP - 5], ids=["new", "wrapping"])
def front(request: pytest.FixtureRequest) -> Iterator[Netfront]:
    front = Netfront(start=request.param)
    yield front
    front.close()


@pytest.mark.parametrize("size", [14, 60, 1514, 4096, 4097, 65_535])
def test_a_frame_of_any_size_arrives(front: Netfront, size: int) -> None:
    assert front.transmit(ethernet(size)) == Frame(ethernet(size), NOTHING)
    assert set(front.tx_statuses()) == {Rsp.OKAY}
    assert front.take_event(front.tx_ports[0])


def test_many_packets_go_with_one_event(front: Netfront) -> None:
    for number in range(60):
        front.put_packet(ethernet(100 + number))
    front.kick()
    sent = [front.sent() for _ in range(60)]
    assert sent == [Frame(ethernet(100 + number)) for number in range(60)]
    assert front.tx_statuses() == [Rsp.OKAY] * 60
    assert front.attachment.statistics.tx_packets == 60


def test_stretches_of_any_sizes_make_one_frame(front: Netfront) -> None:
    front.put_packet(ethernet(3000), sizes=[1, 2000, 0, 999])
    front.kick()
    assert front.sent() == Frame(ethernet(3000))


def test_offloads_are_told_to_the_network(front: Netfront) -> None:
    partial = Offload(OffloadFlag.NEEDS_CSUM, csum_start=34, csum_offset=16)
    assert front.transmit(tcp(10), CSUM_BLANK) == Frame(tcp(10), partial)
    assert front.transmit(tcp(10), DATA_VALIDATED) == Frame(tcp(10), VALIDATED)
    large = partial._replace(gso_type=GsoType.TCPV4, header_length=54, gso_size=1448)
    assert front.transmit(tcp(60_000), CSUM_BLANK, [gso()]) == Frame(tcp(60_000), large)
    assert front.tx_statuses() == [Rsp.OKAY, Rsp.OKAY, Rsp.OKAY, Rsp.NULL] + [Rsp.OKAY] * 14
    large6 = Offload(OffloadFlag.NEEDS_CSUM, GsoType.TCPV6, 74, 1428, 54, 16)
    sent = front.transmit(tcp(9_000, version=6), CSUM_BLANK, [gso(2, 1428)])
    assert sent == Frame(tcp(9_000, version=6), large6)


def test_multicast_extras_are_no_packets(front: Netfront) -> None:
    group = bytes.fromhex("01005e000001")
    extra = EXTRA_MCAST.pack(ExtraMcast(ExtraType.MCAST_ADD, 0, group))
    assert front.transmit(ethernet(60), 0, [extra]) is None
    assert front.tx_statuses() == [Rsp.OKAY, Rsp.NULL]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda front: front.put_packet(ethernet(13)[:13]),
        lambda front: front.put_tx(0, 0, 0, 1, 0),
        lambda front: front.put_tx(1 << 30, 0, 0, 1, 60),
        lambda front: front.put_tx(front.grant(5, 0), 0, 0, 1, 60),
        lambda front: front.put_tx(front.grant(5, GTF_permit_access, domid=3), 0, 0, 1, 60),
        lambda front: front.put_tx(front.grant(1 << 30), 0, 0, 1, 60),
        lambda front: front.put_packet(ethernet(100), CSUM_BLANK),
        lambda front: front.put_packet(tcp(100)[:40], CSUM_BLANK),
        lambda front: front.put_packet(tcp(4000), CSUM_BLANK, [gso(2)]),
    ],
    ids=[
        "short", "empty", "no reference", "no grant", "another's grant", "no frame", "no transport",
        "cut header", "wrong version",
    ],
)  # fmt: skip
def test_a_packet_that_is_wrong_is_answered_with_an_error_and_no_more(
    front: Netfront, spoil: Callable[[Netfront], None]
) -> None:
    spoil(front)
    front.kick()
    assert front.sent() is None
    assert Rsp.ERROR in front.tx_statuses()
    assert front.transmit(ethernet(60)) == Frame(ethernet(60))
    assert not front.log


def test_stretches_larger_than_the_whole_are_an_error(front: Netfront) -> None:
    (first, second) = front.stretches(ethernet(600), [100, 500])
    front.put_tx(*first[:2], MORE, 1, 300)
    front.put_tx(*second[:2], 0, 2, second[2])
    front.kick()
    assert front.sent() is None and front.tx_statuses() == [Rsp.ERROR] * 2
    assert front.transmit(ethernet(60)) is not None


def test_a_packet_of_19_slots_is_an_error_and_one_of_21_the_end(front: Netfront) -> None:
    front.put_packet(ethernet(19 * 60), sizes=[60] * 19)
    front.kick()
    assert front.sent() is None and front.tx_statuses() == [Rsp.ERROR] * 19
    assert not front.log
    front.put_packet(ethernet(21 * 60), sizes=[60] * 21)
    front.kick()
    assert is_disabled(front)


def is_disabled(front: Netfront) -> bool:
    assert len(front.log) == 1 and "vif7.0: fatal error; disabling device" in front.log[0]
    front.put_packet(ethernet(60))
    front.kick()
    return front.sent() is None and not front.grants.is_pinned(front.memory.mfn_of(16))  # type: ignore[arg-type]


def _runaway(front: Netfront) -> None:
    front.tx[0].words[REQ_PROD] = (front.tx[0].produced + 300) % WRAP
    front.events.send(front.tx_ports[0])


@pytest.mark.parametrize(
    "attack",
    [
        _runaway,
        lambda front: front.put_packet(ethernet(60), MORE),
        lambda front: front.put_packet(ethernet(60), EXTRA),
        lambda front: front.put_packet(ethernet(60), 0, [gso(flags=1)]),
        lambda front: front.put_packet(ethernet(60), 0, [gso(flags=1)] * 3),
        lambda front: front.put_packet(ethernet(60), 0, [bytes(8)]),
        lambda front: front.put_packet(ethernet(60), 0, [b"\x05" + bytes(7)]),
        lambda front: front.put_packet(tcp(60), 1, [gso(size=0)]),
        lambda front: front.put_packet(tcp(60), 1, [gso(kind=7)]),
        lambda front: front.put_tx(front.grant(5), PAGE_SIZE - 10, 0, 1, 60),
        lambda front: front.put_tx(front.grant(5), 65_535, 0, 1, 65_535),
    ],
    ids=[
        "index runs away", "more is missing", "extra is missing", "another extra is missing",
        "extras without end", "extra of no type", "extra of unknown type", "segments of no size",
        "segments of no type", "over the page's end", "far over the page's end",
    ],
)  # fmt: skip
def test_what_no_frontend_does_ends_the_interface(
    front: Netfront, attack: Callable[[Netfront], None]
) -> None:
    attack(front)
    front.kick()
    assert is_disabled(front)


@settings(max_examples=300)
@given(st.lists(st.binary(min_size=12, max_size=12), max_size=40), st.integers(0, 400))
def test_no_ring_contents_do_harm(slots: list[bytes], produced: int) -> None:
    front = Netfront(buffers=0)
    try:
        for slot in slots:
            front.tx[0].put(slot)
        front.tx[0].words[REQ_PROD] = produced
        front.events.send(front.tx_ports[0])
        front.run()
        if not front.log:
            front.tx_statuses()
    finally:
        front.close()


def test_a_network_without_room_makes_the_guest_wait_and_loses_nothing() -> None:
    front = Netfront()
    sent = 0
    for _ in range(20):
        front.put_packet(ethernet(60_000))
        front.kick()
        sent += 1
    received = 0
    while received < sent:
        frame = front.sent()
        if frame is None:
            front.run()
            continue
        assert len(frame.data) == 60_000
        received += 1
        front.run()
    assert front.sent() is None
    assert front.tx_statuses() == [Rsp.OKAY] * (15 * sent)
    front.close()


def test_the_rate_is_limited() -> None:
    now = [100.0]
    front = Netfront(rate=TokenBucket(3000, 50_000, lambda: now[0]))
    for _ in range(5):
        front.put_packet(ethernet(1500))
    front.kick()
    assert [front.sent() is not None for _ in range(3)] == [True, True, False]
    assert front.tx_statuses() == [Rsp.OKAY] * 2
    (timer,) = front.timers
    assert timer[0] == 100.05
    now[0] = timer[0]
    timer[1]()
    assert [front.sent() is not None for _ in range(3)] == [True, True, False]
    front.close()


def test_a_network_that_is_gone_drops_packets_and_is_told_once() -> None:
    front = Netfront()
    front.hang_up()
    for _ in range(3):
        front.put_packet(ethernet(60))
        front.kick()
    assert front.tx_statuses() == [Rsp.OKAY] * 3
    assert len(front.log) == 1 and "the network is gone" in front.log[0]
    front.close()


@pytest.mark.parametrize("early", [True, False])
def test_the_toolstack_is_told_of_a_network_that_is_gone(early: bool) -> None:
    front = Netfront()
    written: list[dict[str, str]] = []
    if early:
        front.backend.bound(lambda nodes: written.append(dict(nodes)))
    front.hang_up()
    front.run()
    if not early:
        front.backend.bound(lambda nodes: written.append(dict(nodes)))
    reason = "the other end is closed"
    assert written == [{"hotplug-status": "error", "hotplug-error": reason}]
    written.clear()
    assert front.attachment.lost == reason
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = Line(front.io, MessageWire(left.detach()))
    front.attachment.plug(line)
    front.run()
    assert front.attachment.lost is None
    assert written == [{"hotplug-status": "connected", "hotplug-error": ""}]
    front.put_packet(ethernet(60))
    front.kick()
    assert right.recv(100)[10:] == ethernet(60)
    right.close()
    front.close()
