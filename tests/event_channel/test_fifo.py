"""The FIFO ABI: order, priorities, moving between queues, late pages, words full of rubbish."""

from __future__ import annotations

import pytest
from evtchn_guest import BUSY, LINKED, MASKED, PENDING, FifoConsumer, Guest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.errno import XenError
from xenolith.machine.address import Gfn, Mfn


def test_events_come_in_the_order_of_priority_then_of_sending() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    ports = [guest.table.bind_ipi(0) for _ in range(6)]
    for port, priority in zip(ports, (7, 7, 0, 15, 0, 7), strict=True):
        guest.table.set_priority(port, priority)
    for port in reversed(ports):
        guest.table.send(port)
    assert guest.vcpus[0].wakes == 1
    assert consumer.drain(0) == [ports[i] for i in (4, 2, 5, 1, 0, 3)]


def test_an_event_sent_twice_is_queued_once() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    first, second = guest.table.bind_ipi(0), guest.table.bind_ipi(0)
    for port in (first, second, first):
        guest.table.send(port)
    assert consumer.drain(0) == [first, second]
    assert consumer.drain(0) == []


def test_an_event_goes_to_its_new_queue_even_if_it_ended_the_old_one() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    mover, stayer = guest.table.alloc_unbound(0), guest.table.bind_ipi(0)
    backend = guest.table.bind_backend(mover, 0, lambda: None)
    backend.notify()
    assert consumer.drain(0) == [mover]
    guest.table.bind_vcpu(mover, 1)
    backend.notify()
    guest.table.send(stayer)
    assert consumer.drain(0) == [stayer]
    assert consumer.drain(1) == [mover]


def test_a_masked_event_is_not_linked_until_unmasked() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    port = guest.table.bind_ipi(0)
    consumer.set_mask(port)
    guest.table.send(port)
    assert consumer.word(port) == PENDING | MASKED
    guest.table.unmask(port)
    assert consumer.word(port) == PENDING | LINKED
    assert consumer.drain(0) == [port]


def test_linking_clears_busy_and_the_old_link() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    first, second = guest.table.bind_ipi(0), guest.table.bind_ipi(0)
    guest.table.send(first)
    consumer.set_word(first, consumer.word(first) | BUSY | 0x1234)
    guest.table.send(second)
    assert consumer.word(first) == PENDING | LINKED | second


def test_a_closed_port_is_not_given_out_while_the_guest_has_it_queued() -> None:
    guest = Guest()
    consumer = FifoConsumer(guest)
    port = guest.table.bind_ipi(0)
    guest.table.send(port)
    guest.table.close(port)
    assert guest.table.bind_ipi(0) == port + 1
    assert consumer.drain(0) == []
    assert guest.table.bind_ipi(0) == port


def test_events_pending_at_the_switch_are_delivered_by_the_new_abi() -> None:
    guest = Guest()
    port, masked = guest.table.bind_ipi(0), guest.table.bind_ipi(1)
    guest.table.send(port)
    guest.mask[0] = 1 << masked
    guest.table.send(masked)
    guest.vcpus[0].take_upcall()
    consumer = FifoConsumer(guest)
    assert consumer.drain(0) == [port]
    assert consumer.drain(1) == [masked]


def test_events_wait_for_the_page_of_their_word() -> None:
    guest = Guest(max_port=3000)
    consumer = FifoConsumer(guest, array_pages=1)
    ports = [guest.table.bind_ipi(0) for _ in range(1100)]
    late, closed = ports[-1], ports[-2]
    guest.table.send(late)
    guest.table.send(closed)
    guest.table.unmask(late)
    guest.table.close(closed)
    assert consumer.drain(0) == []
    assert guest.table.start_poll(0, [late]) is False
    guest.table.expand_array(Gfn(20))
    consumer.words.append(guest.memory.frame(Mfn(20)).cast("I"))
    assert consumer.drain(0) == [late]


def test_a_vcpu_without_control_block_loses_its_events() -> None:
    guest = Guest()
    guest.table.init_control(0, Gfn(3), 0)
    guest.table.expand_array(Gfn(4))
    port = guest.table.bind_ipi(1)
    guest.table.send(port)
    assert guest.memory.frame(Mfn(4)).cast("I")[port] == 0
    assert guest.vcpus[1].wakes == 0


def test_the_fifo_abi_has_131072_ports() -> None:
    guest = Guest(max_port=2**20)
    consumer = FifoConsumer(guest, array_pages=128)
    for _ in range(2**17 - 1):
        port = guest.table.bind_ipi(0)
    with pytest.raises(XenError, match="ENOSPC"):
        guest.table.bind_ipi(0)
    assert port == 2**17 - 1
    guest.table.send(port)
    assert consumer.drain(0) == [port]


PORTS = 6

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, PORTS), st.just(0)),
        st.tuples(st.just("unmask"), st.integers(1, PORTS), st.just(0)),
        st.tuples(st.just("close"), st.integers(1, PORTS), st.just(0)),
        st.tuples(st.just("word"), st.integers(1, PORTS), st.integers(0, 2**32 - 1)),
        st.tuples(st.just("control"), st.integers(0, 17), st.integers(0, 2**32 - 1)),
    )
)


@given(ACTIONS)
def test_rubbish_in_words_and_control_blocks_hurts_only_the_guest(
    actions: list[tuple[str, int, int]],
) -> None:
    guest = Guest(vcpus=1)
    consumer = FifoConsumer(guest)
    for _ in range(PORTS):
        guest.table.bind_ipi(0)
    for action, number, value in actions:
        match action:
            case "word":
                consumer.set_word(number, value)
            case "control":
                consumer.controls[0][number] = value
            case "close" if guest.table.status(number).is_usable:
                guest.table.close(number)
                guest.table.bind_ipi(0)
            case "send" if guest.table.status(number).is_usable:
                guest.table.send(number)
            case "unmask":
                guest.table.unmask(number)


@given(ACTIONS)
def test_one_frame_as_control_block_and_event_array(actions: list[tuple[str, int, int]]) -> None:
    guest = Guest(vcpus=1)
    guest.table.init_control(0, Gfn(3), 0)
    guest.table.expand_array(Gfn(3))
    for _ in range(PORTS):
        guest.table.bind_ipi(0)
    for action, number, value in actions:
        match action:
            case "send":
                guest.table.send(number)
            case "unmask":
                guest.table.unmask(number)
            case "word" | "control":
                guest.memory.frame(Mfn(3)).cast("I")[number] = value
            case _:
                continue
