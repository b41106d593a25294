"""The seams of the event channels: backends, polling, vCPUs that lose or move their vcpu_info."""

from __future__ import annotations

import pytest
from evtchn_guest import FifoConsumer, Guest, TwoLevelConsumer

from xenolith.abi.errno import XenError
from xenolith.hypervisor.event_channel.channel import ChannelState


def test_a_connected_backend_hears_and_is_heard() -> None:
    guest, heard = Guest(), []
    backend = guest.table.connect_backend(lambda: heard.append("send"))
    guest.table.send(backend.port)
    assert heard == ["send"]
    backend.notify()
    assert TwoLevelConsumer(guest).drain(0) == [backend.port]
    channel = guest.table.status(backend.port)
    assert (channel.state, channel.remote_domid) == (ChannelState.INTERDOMAIN, 0)
    assert channel.remote_port > 0


def test_a_backend_binds_what_the_guest_left_for_it() -> None:
    guest, heard = Guest(), []
    port = guest.table.alloc_unbound(0)
    guest.table.send(port)
    backend = guest.table.bind_backend(port, 0, lambda: heard.append("send"))
    assert heard == []
    guest.table.send(port)
    assert heard == ["send"]
    for taken in (port, guest.table.alloc_unbound(5), 0, 99):
        with pytest.raises(XenError, match="EINVAL"):
            guest.table.bind_backend(taken, 0, heard.clear)
    backend.notify()
    assert TwoLevelConsumer(guest).drain(0) == [port]


def test_a_closed_backend_leaves_the_port_for_another() -> None:
    guest, heard = Guest(), []
    backend = guest.table.connect_backend(lambda: heard.append("old"))
    backend.close()
    backend.close()
    backend.notify()
    guest.table.send(backend.port)
    assert (heard, guest.vcpus[0].wakes) == ([], 0)
    guest.table.bind_backend(backend.port, 0, lambda: heard.append("new"))
    backend.notify()
    backend.close()
    guest.table.send(backend.port)
    assert (heard, guest.vcpus[0].wakes) == (["new"], 0)


def test_a_backend_does_not_hear_who_reuses_the_port() -> None:
    guest, heard = Guest(), []

    def notify() -> None:
        heard.append("send")

    backend = guest.table.connect_backend(notify)
    guest.table.close(backend.port)
    assert not backend.is_bound
    second = guest.table.connect_backend(notify)
    assert second.port == backend.port
    backend.notify()
    backend.close()
    assert (second.is_bound, guest.vcpus[0].wakes) == (True, 0)


def test_a_backend_may_send_back_at_once() -> None:
    guest = Guest()

    def echo() -> None:
        backend.notify()

    backend = guest.table.connect_backend(echo)
    guest.table.send(backend.port)
    assert TwoLevelConsumer(guest).drain(0) == [backend.port]


def test_a_poller_wakes_for_its_port_even_if_masked() -> None:
    guest = Guest()
    ports = [guest.table.bind_ipi(0), guest.table.bind_ipi(0)]
    guest.mask[0] = 0xFFFF
    assert not guest.table.start_poll(1, [ports[1]])
    guest.table.send(ports[0])
    assert guest.vcpus[1].wakes == 0
    guest.table.send(ports[1])
    assert guest.vcpus[1].wakes == 1
    assert guest.table.start_poll(1, ports)
    guest.pending[0] = 0
    guest.table.send(ports[1])
    assert guest.vcpus[1].wakes == 1, "it polls no longer"


def test_a_poller_of_several_ports_wakes_for_any_until_it_stops() -> None:
    guest = Guest()
    ports = [guest.table.bind_ipi(0) for _ in range(3)]
    FifoConsumer(guest)
    assert not guest.table.start_poll(1, ports[:2])
    guest.table.send(ports[2])
    assert guest.vcpus[1].wakes == 1
    assert not guest.table.start_poll(1, ports[:2])
    guest.table.stop_poll(1)
    guest.table.stop_poll(1)
    guest.table.send(ports[0])
    assert guest.vcpus[1].wakes == 1
    for wrong in (9, 5000):
        with pytest.raises(XenError, match="EINVAL"):
            guest.table.start_poll(1, [wrong])


@pytest.mark.parametrize("consumer_class", [TwoLevelConsumer, FifoConsumer])
def test_a_vcpu_without_vcpu_info_gets_its_events_when_it_registers_one(
    consumer_class: type[TwoLevelConsumer] | type[FifoConsumer],
) -> None:
    guest = Guest(vcpus=40)
    consumer = consumer_class(guest)
    vcpu = guest.vcpus[39]
    vcpu.info = None
    port = guest.table.bind_ipi(39)
    guest.table.send(port)
    assert vcpu.wakes == 0
    guest.table.vcpu_info_moved(39)
    assert vcpu.wakes == 0
    vcpu.info = vcpu.registered
    guest.table.vcpu_info_moved(39)
    assert vcpu.wakes == 1
    assert consumer.drain(39) == [port]


def test_events_follow_vcpu_info_to_its_new_place() -> None:
    guest = Guest()
    vcpu, port = guest.vcpus[0], guest.table.bind_ipi(0)
    vcpu.info = memoryview(bytearray(64))
    guest.table.send(port)
    assert (vcpu.info[0], vcpu.info[8], vcpu.registered[0]) == (1, 1, 0)
