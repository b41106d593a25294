"""The block backend over real grants and event channels: every request, and what no frontend should send."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from block_frontend import (
    BROKEN,
    DATA,
    FULL,
    INDIRECT,
    RAM_FRAMES,
    SECTORS,
    Frontend,
    FrontRing,
    Segments,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xenolith.abi.blkif import BlkifOp, BlkifRsp
from xenolith.abi.errno import XenError
from xenolith.abi.ring import REQ_PROD
from xenolith.backends.xenbus import XenbusError
from xenolith.hypervisor.grant_table import GrantError
from xenolith.machine.address import PAGE_SIZE, Mfn

READ, WRITE = BlkifOp.READ, BlkifOp.WRITE
OKAY, ERROR, UNSUPPORTED = BlkifRsp.OKAY, BlkifRsp.ERROR, BlkifRsp.EOPNOTSUPP
PAGE = [(DATA, 0, 7)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "raw.img"
    made.write_bytes(os.urandom(SECTORS * 512))
    return made


@pytest.fixture(params=["x86_64-abi", "x86_32-abi"])
def frontend(request: pytest.FixtureRequest, path: Path) -> Iterator[Frontend]:
    made = Frontend(path, request.param)
    yield made
    made.disconnect()
    made.image.gate = None
    while made.turn():
        pass
    made.close()


@pytest.fixture
def ring(frontend: Frontend) -> FrontRing:
    frontend.connect()
    return frontend.rings[0]


def nothing_is_pinned(frontend: Frontend) -> bool:
    return not any(frontend.grants.is_pinned(Mfn(frame)) for frame in range(RAM_FRAMES))


def test_features_are_offered(frontend: Frontend) -> None:
    features = frontend.backend.features()
    assert features["feature-max-indirect-segments"] == "256"
    assert features["max-ring-page-order"] == "4"
    assert features["feature-flush-cache"] == features["feature-barrier"] == "1"
    assert frontend.connect()["sectors"] == str(SECTORS)


def test_sectors_are_read_into_parts_of_frames(
    frontend: Frontend, ring: FrontRing, path: Path
) -> None:
    segments = [(DATA + 3, 2, 3), (DATA + 4, 0, 7), (DATA, 7, 7)]
    frontend.data(DATA, 8)[:] = b"\xee" * 8 * PAGE_SIZE
    ring.direct(READ, 100, segments, number=0x1122334455667788)
    assert ring.answer() == (0x1122334455667788, READ, OKAY)
    assert ring.take_event()
    wanted = path.read_bytes()[100 * 512 : 111 * 512]
    view = frontend.data(DATA, 8)
    assert view[3 * PAGE_SIZE + 1024 : 3 * PAGE_SIZE + 2048] == wanted[:1024]
    assert view[4 * PAGE_SIZE : 5 * PAGE_SIZE] == wanted[1024:5120]
    assert view[PAGE_SIZE - 512 : PAGE_SIZE] == wanted[5120:]
    assert view[: PAGE_SIZE - 512] == b"\xee" * (PAGE_SIZE - 512)
    assert frontend.memory.invalidated == {DATA, DATA + 3, DATA + 4}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("count", [1, 11, 12, 256])
def test_all_sizes_of_requests_go_both_ways(
    frontend: Frontend, ring: FrontRing, path: Path, count: int, waits: bool
) -> None:
    frontend.image.waits = waits
    send = ring.direct if count <= 11 else ring.indirect
    segments = [(DATA + (number * 7) % 256, 0, 7) for number in range(count)]
    frontend.data(DATA, 256)[:] = content = os.urandom(256 * PAGE_SIZE)
    send(WRITE, 0, segments)
    assert ring.answer() == (7, WRITE, OKAY)
    wanted = b"".join(content[(ref - DATA) * PAGE_SIZE :][:PAGE_SIZE] for ref, _, _ in segments)
    assert path.read_bytes()[: count * PAGE_SIZE] == wanted
    frontend.data(DATA, 256)[:] = bytes(256 * PAGE_SIZE)
    send(READ, 0, segments)
    assert ring.answer() == (7, READ, OKAY)
    read = frontend.data(DATA, 256)
    assert wanted == b"".join(
        bytes(read[(ref - DATA) * PAGE_SIZE :][:PAGE_SIZE]) for ref, _, _ in segments
    )
    assert not any(frontend.grants.is_pinned(Mfn(DATA + n)) for n in range(256))


def test_a_read_that_changes_its_own_grants_goes_nowhere(
    frontend: Frontend, ring: FrontRing
) -> None:
    """Half of it is in the page cache, and goes into the frame of the entries themselves.

    The other half has to wait. What the entries said before is not pinned, and may have become a page table.
    """
    frontend.image.waits = True
    frontend.image.on_attempt = lambda: frontend.grant(DATA + 1, DATA + 2)
    before = bytes(frontend.data(DATA, 3))
    ring.direct(READ, 0, [(DATA, 0, 7), (DATA + 1, 0, 7)])
    assert ring.answer()[2] == ERROR
    assert bytes(frontend.data(DATA, 3)) == before
    assert not any(frontend.grants.is_pinned(Mfn(DATA + n)) for n in range(3))


@pytest.mark.parametrize(
    ("sector", "segments"),
    [
        (SECTORS, PAGE),
        (SECTORS - 7, PAGE),
        (2**64 - 1, PAGE),
        (2**55, PAGE),
        (0, []),
        (0, [(DATA, 5, 4)]),
        (0, [(DATA, 0, 8)]),
        (0, [(DATA, 0, 255)]),
        (0, [(DATA, 255, 255)]),
        (0, [(DATA, 0, 7), (0, 0, 7)]),
        (0, [(0xFFFFFFFF, 0, 7)]),
        (0, [(RAM_FRAMES + 1, 0, 7)]),
    ],
)
@pytest.mark.parametrize("operation", [READ, WRITE])
@pytest.mark.parametrize("indirect", [False, True])
def test_what_makes_no_sense_is_an_error(
    frontend: Frontend,
    ring: FrontRing,
    path: Path,
    sector: int,
    segments: Segments,
    operation: BlkifOp,
    indirect: bool,
) -> None:
    before = path.read_bytes()
    (ring.indirect if indirect else ring.direct)(operation, sector, segments)
    assert ring.answer() == (7, operation, ERROR)
    assert path.read_bytes() == before
    ring.direct(READ, 0, PAGE)
    assert ring.answer().status == OKAY


def test_too_many_segments_are_an_error(frontend: Frontend, ring: FrontRing) -> None:
    ring.direct(READ, 0, [(DATA, 0, 0)] * 12)
    assert ring.answer().status == ERROR
    for count in (0, 257, 513, 65535):
        ring.indirect(READ, 0, [(DATA, 0, 0)] * 256, count=count)
        assert ring.answer().status == ERROR


@pytest.mark.parametrize("operation", [4, 7, 200, 255])
def test_unknown_operations_are_not_supported(ring: FrontRing, operation: int) -> None:
    ring.direct(operation, 0, PAGE)
    assert ring.answer() == (7, operation, UNSUPPORTED)
    ring.indirect(operation, 0, PAGE)
    assert ring.answer() == (7, operation, UNSUPPORTED)
    ring.indirect(BlkifOp.DISCARD, 0, PAGE)
    assert ring.answer().status == UNSUPPORTED


def test_a_frame_that_may_only_be_read_is_not_written(frontend: Frontend, ring: FrontRing) -> None:
    frontend.grant_readonly(DATA)
    for waits in (False, True):
        frontend.image.waits = waits
        ring.direct(READ, 0, PAGE)
        assert ring.answer().status == ERROR
    ring.direct(WRITE, 0, PAGE)
    assert ring.answer().status == OKAY


def test_one_frame_may_be_named_many_times(frontend: Frontend, ring: FrontRing, path: Path) -> None:
    for waits in (False, True):
        frontend.image.waits = waits
        ring.direct(READ, 0, PAGE * 3)
        assert ring.answer().status == OKAY
        assert bytes(frontend.data()) == path.read_bytes()[2 * PAGE_SIZE : 3 * PAGE_SIZE]
    ring.indirect(WRITE, 0, PAGE * 200)
    frontend.image.waits = True
    # As in Xen, a grant is pinned 128 times at most.
    assert ring.answer().status == ERROR
    assert not frontend.grants.is_pinned(Mfn(DATA))


def test_a_ring_wraps_and_its_slots_may_lie_in_two_pages(path: Path) -> None:
    frontend = Frontend(path)
    frontend.connect(pages=4)
    ring = frontend.rings[0]
    assert ring.size == 128
    content = path.read_bytes()
    for sector in range(0, 3 * ring.size):
        ring.direct(READ, sector % 512, [(DATA, 0, 0)], number=sector)
        assert ring.answer() == (sector, READ, OKAY)
        assert bytes(frontend.data()[:512]) == content[sector % 512 * 512 :][:512]
    frontend.disconnect()
    frontend.close()
    assert nothing_is_pinned(frontend)


@pytest.mark.parametrize(
    "nodes",
    [
        {"ring-page-order": "5"},
        {"ring-page-order": "-1"},
        {"ring-page-order": "99999999999"},
        {"num-ring-pages": "3"},
        {"num-ring-pages": "32"},
        {"num-ring-pages": "0"},
        {"protocol": "arm-abi"},
        {"multi-queue-num-queues": "0"},
        {"multi-queue-num-queues": "9"},
        {"multi-queue-num-queues": "2"},
        {"event-channel": "4000"},
        {"event-channel": "0"},
        {"event-channel": "x"},
        {"ring-ref": "0"},
        {"ring-ref": "99999"},
        {"ring-page-order": "1"},
    ],
)
def test_offers_that_make_no_sense_are_refused_and_leave_nothing(
    path: Path, nodes: dict[str, str]
) -> None:
    frontend = Frontend(path)
    with pytest.raises((XenbusError, XenError, GrantError)):
        frontend.backend.connect({**frontend.offer(), **nodes})
    assert frontend.disconnect()
    assert nothing_is_pinned(frontend)
    frontend.connect()
    frontend.rings[0].direct(READ, 0, PAGE)
    assert frontend.rings[0].answer().status == OKAY
    frontend.disconnect()
    frontend.close()


def test_both_spellings_of_rings_of_many_pages(path: Path) -> None:
    for nodes in ({"ring-page-order": "2"}, {"num-ring-pages": "4"}):
        frontend = Frontend(path)
        frontend.backend.connect(frontend.offer(1, 4, nodes))
        frontend.rings[0].direct(READ, 0, PAGE)
        assert frontend.rings[0].answer().status == OKAY
        frontend.disconnect()
        frontend.close()


def test_many_queues_work_side_by_side(path: Path) -> None:
    frontend = Frontend(path)
    frontend.connect(queues=2, pages=2)
    for ring in frontend.rings:
        ring.direct(WRITE, 0, PAGE, number=ring.port)
    for ring in frontend.rings:
        assert ring.answer() == (ring.port, WRITE, OKAY)
    frontend.disconnect()
    frontend.close()
    assert nothing_is_pinned(frontend)


@pytest.mark.parametrize("ahead", [33, 1000, 1 << 31, (1 << 32) - 1])
def test_an_index_that_runs_away_ends_the_ring_and_nothing_else(
    frontend: Frontend, ring: FrontRing, ahead: int
) -> None:
    ring.direct(READ, 0, PAGE)
    assert ring.answer().status == OKAY
    ring.indices[REQ_PROD] = (ring.indices[REQ_PROD] + ahead) % (1 << 32)
    ring.kick()
    ring.kick()
    assert ring.responses() == []
    assert len([line for line in frontend.lines if "ring is broken" in line]) == 1
    assert frontend.disconnect()
    assert nothing_is_pinned(frontend)
    frontend.connect()
    frontend.rings[0].direct(READ, 0, PAGE)
    assert frontend.rings[0].answer().status == OKAY


def test_a_ring_that_is_broken_from_the_start_is_refused(frontend: Frontend) -> None:
    offer = frontend.offer()
    frontend.rings[0].indices[REQ_PROD] = 1000
    with pytest.raises(XenbusError, match="1000 requests"):
        frontend.backend.connect(offer)
    assert nothing_is_pinned(frontend)


def test_a_flush_reaches_the_image(frontend: Frontend, ring: FrontRing) -> None:
    ring.direct(BlkifOp.FLUSH_DISKCACHE, 2**60, [])
    assert ring.answer() == (7, BlkifOp.FLUSH_DISKCACHE, OKAY)
    assert frontend.image.log == ["flush"]
    ring.direct(BlkifOp.FLUSH_DISKCACHE, 0, PAGE)
    assert ring.answer().status == OKAY
    assert frontend.image.log == ["flush", "flush", "write"]


def test_a_barrier_waits_and_is_waited_for(frontend: Frontend, ring: FrontRing) -> None:
    gate = frontend.image.shut()
    ring.direct(WRITE, 0, PAGE, number=1)
    ring.direct(BlkifOp.WRITE_BARRIER, 8, PAGE, number=2)
    ring.direct(WRITE, 16, PAGE, number=3)
    ring.direct(READ, 16, PAGE, number=4)
    ring.kick()
    assert frontend.image.log in ([], ["write"])
    for _ in range(5):
        gate.put(None)
    order: list[int] = []
    while len(order) < 4:
        frontend.wait()
        order += [response.id for response in ring.responses()]
    assert order[:2] == [1, 2]
    assert frontend.image.log == ["write", "flush", "write", "flush", "write"]


@pytest.mark.parametrize("flag", [0, 1])
def test_a_discard_is_carried_out_unless_it_is_to_be_secure(
    frontend: Frontend, ring: FrontRing, path: Path, flag: int
) -> None:
    ring.discard(8, 8, flag)
    assert ring.answer() == (7, BlkifOp.DISCARD, UNSUPPORTED if flag else OKAY)
    zero = path.read_bytes()[8 * 512 : 16 * 512] == bytes(4096)
    assert zero is (flag == 0)
    for sector, sectors in ((SECTORS - 4, 5), (SECTORS + 1, 0), (2**60, 2**60), (0, 2**64 - 1)):
        ring.discard(sector, sectors)
        assert ring.answer().status == ERROR


def test_discards_are_refused_where_they_are_not_offered(path: Path) -> None:
    frontend = Frontend(path, discard=False)
    assert frontend.backend.features()["feature-discard"] == "0"
    frontend.connect()
    frontend.rings[0].discard(0, 8)
    assert frontend.rings[0].answer().status == UNSUPPORTED
    frontend.disconnect()
    frontend.close()


def test_a_read_only_disk_is_not_written(path: Path) -> None:
    frontend = Frontend(path, read_only=True, cdrom=True)
    assert frontend.connect()["info"] == "7"
    ring, before = frontend.rings[0], path.read_bytes()
    for operation in (WRITE, BlkifOp.WRITE_BARRIER):
        ring.direct(operation, 0, PAGE)
        assert ring.answer().status == ERROR
    ring.discard(0, 8)
    assert ring.answer().status in (ERROR, UNSUPPORTED)
    ring.direct(BlkifOp.FLUSH_DISKCACHE, 0, [])
    assert ring.answer().status == OKAY
    ring.direct(READ, 0, PAGE)
    assert ring.answer().status == OKAY
    assert path.read_bytes() == before
    frontend.disconnect()
    frontend.close()


def test_errors_of_the_host_reach_the_guest_and_the_log(
    frontend: Frontend, ring: FrontRing
) -> None:
    frontend.image.error = BROKEN
    for waits in (False, True):
        frontend.image.waits = waits
        ring.direct(READ, 8, PAGE)
        assert ring.answer().status == ERROR
    ring.direct(WRITE, 8, PAGE)
    assert ring.answer().status == ERROR
    assert frontend.lines == [
        "xvda: read of 4096 bytes at sector 8: Input/output error",
        "xvda: read of 4096 bytes at sector 8: Input/output error",
        "xvda: write of 4096 bytes at sector 8: Input/output error",
    ]
    frontend.image.error = None
    ring.direct(WRITE, 8, PAGE)
    assert ring.answer().status == OKAY


def test_writes_into_the_page_cache_are_done_at_once_until_one_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine is no slow disk.
    monkeypatch.setattr("xenolith.backends.block.disk._SLOW_WRITE_S", 0.5)
    frontend = Frontend(path, local=True)
    frontend.connect()
    ring = frontend.rings[0]
    frontend.data()[:] = b"w" * PAGE_SIZE

    def write_is_done_at_once() -> bool:
        ring.direct(WRITE, 8, PAGE)
        ring.kick()
        found = ring.responses()
        at_once = bool(found)
        while not found:
            frontend.wait()
            found = ring.responses()
        assert found == [(7, WRITE, OKAY)]
        return at_once

    assert write_is_done_at_once()
    assert path.read_bytes()[8 * 512 : 16 * 512] == b"w" * PAGE_SIZE
    frontend.image.delay = 0.6
    assert write_is_done_at_once()
    assert not write_is_done_at_once()
    frontend.image.delay = 0.0
    frontend.image.error = FULL
    ring.direct(WRITE, 8, PAGE)
    ring.kick()
    while not frontend.holds:
        frontend.wait()
    frontend.disconnect()
    frontend.close()


def test_a_full_host_holds_the_domain_and_the_write(frontend: Frontend, ring: FrontRing) -> None:
    frontend.image.error = FULL
    ring.direct(WRITE, 8, PAGE)
    ring.kick()
    # The second time nothing has changed, so it is held again.
    for holds in (1, 2):
        while len(frontend.holds) < holds:
            frontend.wait()
        assert "no space is left" in frontend.holds[-1]
        assert ring.responses() == []
        if holds == 2:
            frontend.image.error = None
        frontend.backend.resumed()
    assert ring.answer() == (7, WRITE, OKAY)
    assert frontend.image.log == ["write"] * 3


def test_a_frontend_that_leaves_while_the_host_is_full_is_not_waited_for(
    frontend: Frontend, ring: FrontRing
) -> None:
    frontend.image.error = FULL
    ring.direct(WRITE, 8, PAGE)
    ring.kick()
    while not frontend.holds:
        frontend.wait()
    assert frontend.disconnect()
    assert nothing_is_pinned(frontend)


def test_what_is_under_way_when_the_frontend_leaves_keeps_its_frames(
    frontend: Frontend, ring: FrontRing, path: Path
) -> None:
    gate = frontend.image.shut()
    frontend.image.waits = True
    frontend.data()[:] = b"w" * PAGE_SIZE
    ring.direct(WRITE, 0, PAGE)
    ring.direct(READ, 8, [(DATA + 1, 0, 7)])
    ring.kick()
    done: list[str] = []
    frontend.backend.disconnect(lambda: done.append("first"))
    frontend.backend.disconnect(lambda: done.append("second"))
    assert frontend.grants.is_pinned(Mfn(DATA))
    gate.put(None)
    gate.put(None)
    while len(done) < 2:
        frontend.wait()
    assert done == ["first", "second"]
    assert nothing_is_pinned(frontend)
    content = path.read_bytes()
    assert content[:PAGE_SIZE] == b"w" * PAGE_SIZE
    assert bytes(frontend.data(DATA + 1)) == content[PAGE_SIZE : 2 * PAGE_SIZE]


def test_the_end_of_the_domain_waits_for_the_host(frontend: Frontend, ring: FrontRing) -> None:
    frontend.image.waits = True
    ring.direct(WRITE, 0, PAGE)
    ring.kick()
    frontend.backend.close()
    assert frontend.image.closed
    assert frontend.image.log == ["write"]


def test_persistent_grants_stay_pinned_until_the_end(path: Path) -> None:
    frontend = Frontend(path, persistent=True)
    assert frontend.backend.features()["feature-persistent"] == "1"
    frontend.connect(nodes={"feature-persistent": "1"})
    ring, content = frontend.rings[0], path.read_bytes()
    for waits in (False, True, False):
        frontend.image.waits = waits
        ring.direct(READ, 8, PAGE)
        assert ring.answer().status == OKAY
        assert bytes(frontend.data()) == content[PAGE_SIZE : 2 * PAGE_SIZE]
        assert frontend.grants.is_pinned(Mfn(DATA))
    ring.indirect(WRITE, 0, PAGE * 100)
    assert ring.answer().status == OKAY
    assert frontend.disconnect()
    assert nothing_is_pinned(frontend)
    frontend.close()


def test_a_medium_is_replaced_between_requests(frontend: Frontend, path: Path) -> None:
    frontend.connect()
    ring = frontend.rings[0]
    gate = frontend.image.shut()
    ring.direct(WRITE, 0, PAGE, number=1)
    ring.kick()
    told: list[object] = []
    frontend.backend.insert(None, told.append)
    ring.direct(READ, 0, PAGE, number=2)
    ring.direct(BlkifOp.FLUSH_DISKCACHE, 0, [], number=3)
    ring.kick()
    assert told == []
    gate.put(None)
    answers: dict[int, int] = {}
    while len(answers) < 3:
        frontend.wait()
        answers |= {response.id: response.status for response in ring.responses()}
    assert answers == {1: OKAY, 2: ERROR, 3: ERROR}
    assert told == [{"sectors": "0"}]
    assert frontend.image.closed


def test_a_disk_that_grows_is_measured(frontend: Frontend, ring: FrontRing, path: Path) -> None:
    os.truncate(path, SECTORS * 1024)
    ring.direct(READ, SECTORS, PAGE)
    assert ring.answer().status == ERROR
    assert frontend.backend.measure() == {"sectors": str(2 * SECTORS)}
    ring.direct(READ, SECTORS, PAGE)
    assert ring.answer().status == OKAY


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_in_the_ring_get_an_answer(frontend: Frontend, data: st.DataObject) -> None:
    frontend.connect()
    frontend.lines.clear()
    ring = frontend.rings[0]
    size = frontend.abi.request.size
    count = data.draw(st.integers(1, 8))
    for _ in range(count):
        slot = bytearray(data.draw(st.binary(min_size=size, max_size=size)))
        slot[0] = data.draw(st.integers(0, 8))
        if data.draw(st.booleans()):
            slot[1] = data.draw(st.integers(0, 12))
        ring.put(bytes(slot))
    frontend.data(INDIRECT, 1)[:64] = data.draw(st.binary(min_size=64, max_size=64))
    ring.kick()
    answers = len(ring.responses())
    # A read may go into the ring itself, which the frontend has granted.
    while answers < count and not any("is broken" in line for line in frontend.lines):
        frontend.wait()
        answers += len(ring.responses())
    while not frontend.disconnect():
        frontend.wait()
    assert nothing_is_pinned(frontend)
