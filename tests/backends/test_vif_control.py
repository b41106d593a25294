"""The control ring: a guest chooses how what it receives is hashed, and gets the hash."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from netfront import FEATURES, Netfront, Ring
from test_vif_transmit import ethernet, tcp

from xenolith.abi.netif import (
    CTRL_REQUEST,
    CTRL_RESPONSE,
    CtrlRequest,
    CtrlStatus,
    CtrlType,
    HashType,
)
from xenolith.abi.ring import REQ_PROD
from xenolith.backends.net.steering import Steering
from xenolith.machine.address import Mfn

# The key and the answers are those of Microsoft's "Verifying the RSS Hash Calculation".
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
TOEPLITZ = 1


class Controlled(Netfront):
    """A frontend with two queues and a control ring."""

    def __init__(self) -> None:
        self._control_gfn = 12
        super().__init__(features={**FEATURES}, queues=2)
        self.backend.disconnect(lambda: None)
        self.control = Ring(self.memory.frame(Mfn(self._control_gfn)), CTRL_REQUEST.size)
        self.control_port = self.events.alloc_unbound(0)
        self.nodes["ctrl-ring-ref"] = str(self.grant(self._control_gfn))
        self.nodes["event-channel-ctrl"] = str(self.control_port)
        self.backend.connect(self.nodes)
        self.run()

    def ask(self, kind: int, *data: int) -> tuple[int, int]:
        padded = (*data, 0, 0, 0)[:3]
        self.control.put(CTRL_REQUEST.pack(CtrlRequest(77, kind, padded)))
        if self.control.push():
            self.events.send(self.control_port)
        self.run()
        (response,) = map(CTRL_RESPONSE.unpack, self.control.responses())
        assert (response.id, response.type) == (77, kind)
        return response.status, response.data

    def page_of(self, data: bytes) -> int:
        gfn = self.new_frame()
        self.memory.frame(Mfn(gfn))[: len(data)] = data
        return self.grant(gfn)


@pytest.fixture
def front() -> Iterator[Controlled]:
    front = Controlled()
    yield front
    front.close()


def packet(source: str, source_port: int, target: str, target_port: int) -> bytes:
    frame = bytearray(tcp(0))
    frame[26:34] = bytes(map(int, f"{source}.{target}".split(".")))
    frame[34:38] = struct.pack(">HH", source_port, target_port)
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "with_ports", "without"),
    [
        (packet("66.9.149.187", 2794, "161.142.100.80", 1766), 0x51CCC178, 0x323E8FC2),
        (packet("199.92.111.2", 14230, "65.69.140.83", 4739), 0xC626B0EA, 0xD718262A),
        (packet("24.19.198.95", 12898, "12.22.207.184", 38024), 0x5C2B394A, 0xD2D0A5DE),
    ],
)
def test_hashes_are_those_of_the_verification_suite(
    frame: bytes, with_ports: int, without: int
) -> None:
    steering = Steering(4)
    steering.algorithm = TOEPLITZ
    steering.set_key(KEY)
    steering.types = 1 << HashType.IPV4 | 1 << HashType.IPV4_TCP
    queue, found = steering.choose(frame)
    assert found is not None and (found.type, found.value) == (HashType.IPV4_TCP, with_ports)
    assert queue == with_ports % 4
    steering.types = 1 << HashType.IPV4
    _, found = steering.choose(frame)
    assert found is not None and (found.type, found.value) == (HashType.IPV4, without)


def test_a_guest_sets_up_hashing_and_gets_hashes(front: Controlled) -> None:
    assert front.ask(CtrlType.GET_HASH_FLAGS)[0] == CtrlStatus.NOT_SUPPORTED
    assert front.ask(CtrlType.SET_HASH_ALGORITHM, TOEPLITZ) == (0, 0)
    assert front.ask(CtrlType.GET_HASH_FLAGS) == (0, 0b1111)
    assert front.ask(CtrlType.SET_HASH_KEY, front.page_of(KEY), len(KEY)) == (0, 0)
    assert front.ask(CtrlType.SET_HASH_FLAGS, 0b11) == (0, 0)
    _, size = front.ask(CtrlType.GET_HASH_MAPPING_SIZE)
    assert size >= 4
    assert front.ask(CtrlType.SET_HASH_MAPPING_SIZE, 4) == (0, 0)
    table = struct.pack("<4I", 1, 1, 1, 1)
    assert front.ask(CtrlType.SET_HASH_MAPPING, front.page_of(table), 4, 0) == (0, 0)
    front.deliver(packet("66.9.149.187", 2794, "161.142.100.80", 1766))
    ((data, _, extras),) = front.received(queue=1)
    assert extras == [bytes([4, 0, HashType.IPV4_TCP, TOEPLITZ]) + struct.pack("<I", 0x51CCC178)]
    assert data[26] == 66
    front.deliver(ethernet(60))
    assert [extras for _, _, extras in front.received(queue=0)] == [[]]


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (CtrlType.INVALID, (), CtrlStatus.NOT_SUPPORTED),
        (99, (1, 2, 3), CtrlStatus.NOT_SUPPORTED),
        (CtrlType.ADD_GREF_MAPPING, (0, 1, 1), CtrlStatus.NOT_SUPPORTED),
        (CtrlType.SET_HASH_ALGORITHM, (7,), CtrlStatus.INVALID_PARAMETER),
        (CtrlType.SET_HASH_FLAGS, (1,), CtrlStatus.INVALID_PARAMETER),
        (CtrlType.SET_HASH_KEY, (1 << 20, 40), CtrlStatus.INVALID_PARAMETER),
        (CtrlType.SET_HASH_KEY, (0, 4097), CtrlStatus.BUFFER_OVERFLOW),
        (CtrlType.SET_HASH_MAPPING_SIZE, (1 << 31,), CtrlStatus.INVALID_PARAMETER),
        (CtrlType.SET_HASH_MAPPING, (1 << 20, 1, 0), CtrlStatus.BUFFER_OVERFLOW),
    ],
)
def test_requests_that_cannot_be_met_are_answered(
    front: Controlled, kind: int, data: tuple[int, ...], status: CtrlStatus
) -> None:
    assert front.ask(kind, *data)[0] == status


def test_a_queue_that_is_not_there_is_no_target(front: Controlled) -> None:
    front.ask(CtrlType.SET_HASH_MAPPING_SIZE, 2)
    table = front.page_of(struct.pack("<2I", 0, 2))
    assert front.ask(CtrlType.SET_HASH_MAPPING, table, 2, 0)[0] == CtrlStatus.INVALID_PARAMETER
    assert front.ask(CtrlType.SET_HASH_MAPPING, 1 << 20, 2, 0)[0] == CtrlStatus.INVALID_PARAMETER
    assert front.ask(CtrlType.SET_HASH_MAPPING, table, 2, 1)[0] == CtrlStatus.BUFFER_OVERFLOW


def test_an_index_that_runs_away_ends_the_interface(front: Controlled) -> None:
    front.control.words[REQ_PROD] = 200
    front.events.send(front.control_port)
    front.run()
    assert len(front.log) == 1 and "fatal error; disabling device" in front.log[0]
