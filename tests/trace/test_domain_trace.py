"""What is traced: calls, what they cause, and events, in order; and that the guest notices nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xenolith.abi import event_channel as ev
from xenolith.abi.errno import Errno
from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.memory import XEN_MEMORY_RESERVATION, MemoryOp, XenMemoryReservation
from xenolith.abi.xen import MULTICALL_ENTRY, Hypercall, Virq
from xenolith.engine.hvm import EngineError
from xenolith.hypervisor.guest_access import Continuation
from xenolith.hypervisor.hypercalls.table import HVM_HANDLERS
from xenolith.hypervisor.trace import line
from xenolith.hypervisor.trace.decoding import Call, Finish, Look
from xenolith.hypervisor.trace.domain_trace import attach
from xenolith.hypervisor.trace.signatures import SIGNATURES

from .traced_domain import ARGUMENT, DOMID, LIST, TracedDomain

EVENT = Hypercall.event_channel_op
SELF = 0x7FF0
SEND, BIND_IPI = ev.EventChannelOp.send, ev.EventChannelOp.bind_ipi


def bind_ipi(guest: TracedDomain, vcpu: int) -> int:
    guest.with_struct(EVENT, BIND_IPI, ev.EVTCHN_BIND_IPI, vcpu, 0)
    guest.lines.clear()
    return ev.EVTCHN_BIND_IPI.unpack(guest.read(ARGUMENT, ev.EVTCHN_BIND_IPI.size)).port


def send(guest: TracedDomain, port: int, vcpu: int = 0) -> None:
    guest.with_struct(EVENT, SEND, ev.EVTCHN_SEND, port, vcpu=vcpu)


def test_it_begins_with_the_wall_clock(guest: TracedDomain) -> None:
    first: list[str] = []
    attach(guest.domain, first.append)
    (traced,) = map(line.parse, first)
    assert traced is not None
    assert traced.what.startswith(f"attached to domain {DOMID}; ")
    origin_us = guest.domain.clock.wall_clock_origin_ns // 1000
    assert line.parse_attached(traced.what) == origin_us


def test_lines_have_the_time_of_the_call_and_its_length(guest: TracedDomain) -> None:
    before = guest.domain.clock.now()
    guest.hypercall(Hypercall.sched_op, 0)
    after = guest.domain.clock.now()
    (text,) = guest.lines
    traced = line.parse(text)
    assert traced is not None
    call = line.parse_call(traced.what)
    assert call is not None
    assert before // 1000 <= traced.time_us <= after // 1000
    assert 0 < call.time_us < (after - before) / 1000


def test_an_ipi_is_shown_below_its_send(guest: TracedDomain) -> None:
    port = bind_ipi(guest, 1)
    send(guest, port)
    assert guest.taken() == [
        f"v0  event_channel_op(send, {{port={port}}}) = 0",
        f"v0    event: port {port} (ipi) v0 → v1",
    ]
    send(guest, port, vcpu=1)
    assert guest.taken() == [
        f"v1  event_channel_op(send, {{port={port}}}) = 0",
        f"v1    event: port {port} (ipi) v1 → v1, already pending",
    ]


def test_masked_events_say_so(guest: TracedDomain) -> None:
    port = bind_ipi(guest, 1)
    shared_info = guest.domain.memory.frame(guest.domain.shared_info_mfn)
    shared_info[2048 + 512] = 0xFF
    send(guest, port)
    assert guest.taken()[1] == f"v0    event: port {port} (ipi) v0 → v1, masked"


def test_virqs_come_from_nobody(guest: TracedDomain) -> None:
    guest.with_struct(EVENT, ev.EventChannelOp.bind_virq, ev.EVTCHN_BIND_VIRQ, Virq.TIMER, 1, 0)
    guest.taken()
    guest.domain.event_channels.raise_virq(Virq.TIMER, 1)
    assert guest.taken() == ["-   event: port 1 (virq timer) → v1"]
    guest.domain.event_channels.raise_virq(Virq.CONSOLE)
    assert guest.taken() == []


def test_a_timer_in_the_past_is_an_event_within_the_call(guest: TracedDomain) -> None:
    guest.with_struct(EVENT, ev.EventChannelOp.bind_virq, ev.EVTCHN_BIND_VIRQ, Virq.TIMER, 0, 0)
    guest.taken()
    guest.hypercall(Hypercall.set_timer_op, 1)
    call, event = guest.taken()
    assert call.startswith("v0  set_timer_op(-")
    assert event == "v0    event: port 1 (virq timer) → v0"


def test_backends_have_the_names_of_their_rings(guest: TracedDomain) -> None:
    heard: list[str] = []
    channels = guest.domain.event_channels
    console = channels.connect_backend(lambda: heard.append("console"))

    def answer() -> None:
        disk.notify()

    disk = channels.connect_backend(answer)
    guest.domain.params.set(HvmParam.CONSOLE_EVTCHN, console.port)
    send(guest, console.port)
    assert guest.taken() == [
        "v0  event_channel_op(send, {port=1}) = 0",
        "v0    event: port 1 (console) v0 → backend",
    ]
    assert heard == ["console"]
    console.notify()
    assert guest.taken() == ["-   event: port 1 (console) backend → v0"]
    send(guest, disk.port)
    assert guest.taken() == [
        "v0  event_channel_op(send, {port=2}) = 0",
        "v0    event: port 2 (interdomain) v0 → backend",
        "v0    event: port 2 (interdomain) backend → v0",
    ]


def test_loopback_channels(guest: TracedDomain) -> None:
    guest.with_struct(
        EVENT, ev.EventChannelOp.alloc_unbound, ev.EVTCHN_ALLOC_UNBOUND, SELF, SELF, 0
    )
    interdomain = ev.EVTCHN_BIND_INTERDOMAIN
    guest.taken()
    guest.with_struct(EVENT, ev.EventChannelOp.bind_interdomain, interdomain, SELF, 1, 0)
    assert guest.taken() == [
        "v0  event_channel_op(bind_interdomain, {remote_dom=SELF, remote_port=1, local_port→2}) = 0",
        "v0    event: port 2 (interdomain) v0 → v0",
    ]


def test_the_entries_of_a_multicall_are_nested(guest: TracedDomain) -> None:
    port = bind_ipi(guest, 1)
    guest.write(ARGUMENT, port.to_bytes(4, "little"))
    result = guest.multicall((EVENT, SEND, ARGUMENT), (99, 1), (Hypercall.multicall, 0, 0))
    assert result == 0
    assert guest.taken() == [
        "v0  multicall(3 calls) = 0",
        f"v0    event_channel_op(send, {{port={port}}}) = 0",
        f"v0      event: port {port} (ipi) v0 → v1",
        "v0    hypercall_99(0x1, 0x0, 0x0, 0x0, 0x0) = -ENOSYS (not served)",
    ]


def test_a_continuation_within_a_multicall(guest: TracedDomain) -> None:
    extents = LIST + 4096
    reservation = XenMemoryReservation(extents, 600, 0, 0, SELF)
    guest.write(ARGUMENT, XEN_MEMORY_RESERVATION.pack(reservation))
    rest = guest.multicall((Hypercall.memory_op, MemoryOp.populate_physmap, ARGUMENT))
    assert isinstance(rest, Continuation)
    assert [text.rpartition(" = ")[2] for text in guest.taken()] == ["<continued>"] * 2
    guest.hypercall(Hypercall.multicall, *rest.arguments)
    outer, inner = guest.taken()
    assert outer == "v0  multicall(1 calls) = 0"
    assert inner.startswith("v0    memory_op(populate_physmap from 512, ")


@pytest.fixture
def replaced_handlers() -> Iterator[dict[int, Any]]:
    before = dict(HVM_HANDLERS)
    yield HVM_HANDLERS
    HVM_HANDLERS.clear()
    HVM_HANDLERS.update(before)


def test_a_call_that_does_not_return_is_shown(
    guest: TracedDomain, replaced_handlers: dict[int, Any]
) -> None:
    def fail(*_arguments: object) -> int:
        raise EngineError("the engine gave up")

    replaced_handlers[Hypercall.sched_op] = fail
    with pytest.raises(EngineError):
        guest.hypercall(Hypercall.sched_op, 1)
    assert guest.taken() == ["v0  sched_op(block) = ?"]
    guest.hypercall(Hypercall.xen_version, 7)
    assert guest.taken() == ["v0  xen_version(pagesize) = 4096"]


class Broken:
    """A decoder with a bug, on one side of the call or the other."""

    def __init__(self, *, before: bool) -> None:
        self.before = before

    def read(self, _look: Look, registers: tuple[int, ...]) -> Finish:
        if self.before:
            raise KeyError(registers[0])
        return lambda _answered: str(1 // 0)


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (True, "v0  xen_version(<not decoded: KeyError(7)>) = 4096"),
        (
            False,
            "v0  xen_version(<not decoded: ZeroDivisionError('integer division or modulo by zero')>) = 4096",
        ),
    ],
)
def test_a_bug_in_a_decoder_does_not_reach_the_guest(
    guest: TracedDomain, monkeypatch: pytest.MonkeyPatch, before: bool, shown: str
) -> None:
    monkeypatch.setitem(SIGNATURES, Hypercall.xen_version.value, Call(Broken(before=before)))
    assert guest.hypercall(Hypercall.xen_version, 7) == 4096
    assert guest.taken() == [shown]


def test_nothing_is_written_once_nobody_looks(guest: TracedDomain) -> None:
    port = bind_ipi(guest, 1)
    guest.domain.trace(None)
    send(guest, port)
    guest.domain.event_channels.raise_virq(Virq.TIMER, 1)
    assert guest.lines == []


def test_whoever_looks_may_leave_in_the_middle(guest: TracedDomain) -> None:
    port = bind_ipi(guest, 1)

    def leave(text: str) -> None:
        guest.lines.append(text)
        if "send" in text:
            guest.domain.trace(None)

    guest.watch(leave)
    send(guest, port)
    send(guest, port)
    assert len(guest.taken()) == 2, "the lines of the call, and none of the next"


def test_results_are_those_of_a_domain_without_a_trace(guest: TracedDomain) -> None:
    plain = TracedDomain()
    plain.domain.trace(None)
    port = ev.EVTCHN_SEND.pack(ev.EvtchnSend(1))
    for one in (guest, plain):
        one.write(ARGUMENT, port)
        results = [
            one.hypercall(EVENT, SEND, ARGUMENT),
            one.hypercall(EVENT, ev.EventChannelOp.bind_ipi, ARGUMENT + 64),
            one.hypercall(EVENT, SEND, ARGUMENT),
            one.hypercall(77),
            one.multicall((EVENT, SEND, ARGUMENT), (Hypercall.sched_op, 0)),
        ]
        assert results == [-Errno.EINVAL, 0, 0, -Errno.ENOSYS, 0]
        entry = MULTICALL_ENTRY.unpack(one.read(LIST, MULTICALL_ENTRY.size))
        assert entry.result == 0
    size = 3 * 4096
    assert guest.read(ARGUMENT, size) == plain.read(ARGUMENT, size)
    assert plain.lines == []
