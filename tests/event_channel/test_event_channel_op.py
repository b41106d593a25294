"""event_channel_op as a guest calls it: each operation, each error."""

from __future__ import annotations

from typing import Any

import pytest
from evtchn_guest import ARGUMENT, Guest
from hypothesis import example, given
from hypothesis import strategies as st

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.event_channel import (
    EVTCHN_ALLOC_UNBOUND,
    EVTCHN_BIND_INTERDOMAIN,
    EVTCHN_BIND_IPI,
    EVTCHN_BIND_PIRQ,
    EVTCHN_BIND_VCPU,
    EVTCHN_BIND_VIRQ,
    EVTCHN_CLOSE,
    EVTCHN_EXPAND_ARRAY,
    EVTCHN_INIT_CONTROL,
    EVTCHN_RESET,
    EVTCHN_SEND,
    EVTCHN_SET_PRIORITY,
    EVTCHN_STATUS,
    EVTCHN_UNMASK,
    EventChannelOp,
    EventChannelStatus,
    EvtchnAllocUnbound,
    EvtchnBindInterdomain,
    EvtchnBindIpi,
    EvtchnBindPirq,
    EvtchnBindVcpu,
    EvtchnBindVirq,
    EvtchnClose,
    EvtchnExpandArray,
    EvtchnInitControl,
    EvtchnReset,
    EvtchnSend,
    EvtchnSetPriority,
    EvtchnStatus,
    EvtchnUnmask,
)
from xenolith.abi.layout import Layout
from xenolith.abi.xen import DOMID_SELF, Virq
from xenolith.hypervisor.event_channel import event_channel_op
from xenolith.machine.address import GuestVirt

OWN, OTHER = 7, 9


def errno_of(guest: Guest, cmd: int, layout: Layout[Any], record: Any) -> Errno:
    with pytest.raises(XenError) as caught:
        guest.hypercall(cmd, layout, record)
    return caught.value.errno


def bind_ipi(guest: Guest, vcpu_id: int = 0) -> int:
    answer = guest.hypercall(EventChannelOp.bind_ipi, EVTCHN_BIND_IPI, EvtchnBindIpi(vcpu_id, 0))
    return answer.port


def bind_virq(guest: Guest, virq: int, vcpu_id: int = 0) -> int:
    record = EvtchnBindVirq(virq, vcpu_id, 0)
    return guest.hypercall(EventChannelOp.bind_virq, EVTCHN_BIND_VIRQ, record).port


def status(guest: Guest, port: int) -> EvtchnStatus:
    record = EvtchnStatus(DOMID_SELF, port, 0, 0, 0, 0)
    return guest.hypercall(EventChannelOp.status, EVTCHN_STATUS, record)


def alloc_unbound(guest: Guest, remote: int, dom: int = DOMID_SELF) -> int:
    record = EvtchnAllocUnbound(dom, remote, 0)
    return guest.hypercall(EventChannelOp.alloc_unbound, EVTCHN_ALLOC_UNBOUND, record).port


def bind_interdomain(guest: Guest, remote_port: int, dom: int = DOMID_SELF) -> int:
    record = EvtchnBindInterdomain(dom, remote_port, 0)
    answer = guest.hypercall(EventChannelOp.bind_interdomain, EVTCHN_BIND_INTERDOMAIN, record)
    return answer.local_port


def send(guest: Guest, port: int) -> None:
    guest.hypercall(EventChannelOp.send, EVTCHN_SEND, EvtchnSend(port))


def close(guest: Guest, port: int) -> None:
    guest.hypercall(EventChannelOp.close, EVTCHN_CLOSE, EvtchnClose(port))


def is_pending(guest: Guest, port: int) -> bool:
    return bool(guest.pending[port >> 6] >> (port & 63) & 1)


def test_the_first_port_is_1_and_a_closed_port_is_reused_first() -> None:
    guest = Guest()
    ports = [bind_ipi(guest) for _ in range(4)]
    assert ports == [1, 2, 3, 4]
    close(guest, 2)
    assert bind_ipi(guest) == 2
    assert bind_ipi(guest) == 5


def test_the_limit_of_the_domain_is_the_highest_port() -> None:
    guest = Guest(max_port=70)
    assert [bind_ipi(guest) for _ in range(70)] == list(range(1, 71))
    record = EvtchnBindIpi(0, 0)
    assert errno_of(guest, EventChannelOp.bind_ipi, EVTCHN_BIND_IPI, record) is Errno.ENOSPC
    close(guest, 33)
    assert bind_ipi(guest) == 33


def test_the_2_level_abi_has_4096_ports() -> None:
    guest = Guest(max_port=10**6)
    ports = [guest.table.bind_ipi(0) for _ in range(4095)]
    assert ports[-1] == 4095
    with pytest.raises(XenError, match="ENOSPC"):
        guest.table.bind_ipi(0)
    guest.table.send(4095)
    assert guest.pending[63] == 1 << 63
    assert guest.vcpus[0].registered[15] == 1 << 7


def test_an_ipi_is_delivered_to_its_vcpu() -> None:
    guest = Guest()
    port = bind_ipi(guest, 1)
    send(guest, port)
    assert is_pending(guest, port)
    assert guest.vcpus[1].registered[0] == 1
    assert guest.vcpus[1].registered[8] == 1
    assert (guest.vcpus[0].wakes, guest.vcpus[1].wakes) == (0, 1)
    send(guest, port)
    assert guest.vcpus[1].wakes == 1


def test_an_event_still_pending_makes_no_second_upcall() -> None:
    guest = Guest()
    port = bind_ipi(guest)
    send(guest, port)
    guest.vcpus[0].registered[:16] = bytes(16)
    send(guest, port)
    assert guest.vcpus[0].registered[:16] == bytes(16)
    assert guest.vcpus[0].wakes == 1


def test_ipi_of_no_vcpu() -> None:
    record = EvtchnBindIpi(2, 0)
    assert errno_of(Guest(), EventChannelOp.bind_ipi, EVTCHN_BIND_IPI, record) is Errno.ENOENT


def test_a_masked_event_is_pending_but_makes_no_upcall_until_unmasked() -> None:
    guest = Guest()
    port = bind_ipi(guest)
    guest.mask[0] = 1 << port
    send(guest, port)
    assert is_pending(guest, port)
    assert guest.vcpus[0].registered[0] == 0
    guest.hypercall(EventChannelOp.unmask, EVTCHN_UNMASK, EvtchnUnmask(port))
    assert guest.mask[0] == 0
    assert guest.vcpus[0].registered[0] == 1
    assert guest.vcpus[0].wakes == 1


def test_unmask_of_a_free_port_leaves_the_mask_alone() -> None:
    guest = Guest()
    guest.mask[0] = 1 << 5
    guest.hypercall(EventChannelOp.unmask, EVTCHN_UNMASK, EvtchnUnmask(5))
    assert guest.mask[0] == 1 << 5
    record = EvtchnUnmask(4096)
    assert errno_of(guest, EventChannelOp.unmask, EVTCHN_UNMASK, record) is Errno.EINVAL


def test_loopback_delivers_to_the_other_end() -> None:
    guest = Guest()
    far = alloc_unbound(guest, OWN)
    send(guest, far)
    near = bind_interdomain(guest, far)
    assert is_pending(guest, near), "the binder is told of what was sent before"
    assert not is_pending(guest, far)
    guest.pending[0] = 0
    send(guest, near)
    assert is_pending(guest, far)
    assert not is_pending(guest, near)
    assert status(guest, near)[2:] == (EventChannelStatus.interdomain, 0, OWN, far)
    assert status(guest, far)[2:] == (EventChannelStatus.interdomain, 0, OWN, near)


def test_closing_one_end_leaves_the_other_unbound() -> None:
    guest = Guest()
    far = alloc_unbound(guest, DOMID_SELF)
    near = bind_interdomain(guest, far, dom=OWN)
    close(guest, near)
    assert status(guest, near).status == EventChannelStatus.closed
    assert status(guest, far)[2:5] == (EventChannelStatus.unbound, 0, OWN)
    send(guest, far)
    assert bind_interdomain(guest, far) == near


@pytest.mark.parametrize(
    ("dom", "port", "errno"),
    [
        (OTHER, 1, Errno.ESRCH),
        (0, 1, Errno.EINVAL),
        (DOMID_SELF, 0, Errno.EINVAL),
        (DOMID_SELF, 1, Errno.EINVAL),
        (DOMID_SELF, 2, Errno.EINVAL),
        (DOMID_SELF, 2**32 - 1, Errno.EINVAL),
    ],
)
def test_what_cannot_be_bound(dom: int, port: int, errno: Errno) -> None:
    guest = Guest()
    assert alloc_unbound(guest, OTHER) == 1
    record = EvtchnBindInterdomain(dom, port, 0)
    cmd = EventChannelOp.bind_interdomain
    assert errno_of(guest, cmd, EVTCHN_BIND_INTERDOMAIN, record) is errno
    assert bind_ipi(guest) == 2, "no port was lost"


def test_alloc_unbound_is_for_the_own_domain() -> None:
    guest = Guest()
    port = alloc_unbound(guest, OTHER, dom=OWN)
    assert status(guest, port)[2:5] == (EventChannelStatus.unbound, 0, OTHER)
    cmd = EventChannelOp.alloc_unbound
    record = EvtchnAllocUnbound(OTHER, OWN, 0)
    assert errno_of(guest, cmd, EVTCHN_ALLOC_UNBOUND, record) is Errno.ESRCH
    record = EvtchnAllocUnbound(0, OWN, 0)
    assert errno_of(guest, cmd, EVTCHN_ALLOC_UNBOUND, record) is Errno.EPERM


def test_a_vcpu_virq_is_bound_once_per_vcpu_and_delivered_there() -> None:
    guest = Guest()
    ports = [bind_virq(guest, Virq.TIMER, vcpu_id) for vcpu_id in (0, 1)]
    record = EvtchnBindVirq(Virq.TIMER, 1, 0)
    assert errno_of(guest, EventChannelOp.bind_virq, EVTCHN_BIND_VIRQ, record) is Errno.EEXIST
    guest.table.raise_virq(Virq.TIMER, 1)
    assert [is_pending(guest, port) for port in ports] == [False, True]
    assert guest.vcpus[1].registered[0] == 1
    assert status(guest, ports[1])[2:5] == (EventChannelStatus.virq, 1, Virq.TIMER)
    record_vcpu = EvtchnBindVcpu(ports[1], 0)
    assert errno_of(guest, EventChannelOp.bind_vcpu, EVTCHN_BIND_VCPU, record_vcpu) is Errno.EINVAL


def test_a_global_virq_may_move_and_can_be_bound_again_after_close() -> None:
    guest = Guest()
    port = bind_virq(guest, Virq.ARGO)
    guest.hypercall(EventChannelOp.bind_vcpu, EVTCHN_BIND_VCPU, EvtchnBindVcpu(port, 1))
    guest.table.raise_virq(Virq.ARGO)
    assert guest.vcpus[1].registered[0] == 1
    close(guest, port)
    guest.table.raise_virq(Virq.ARGO)
    assert not is_pending(guest, port)
    assert bind_virq(guest, Virq.ARGO) == port


@pytest.mark.parametrize(
    ("virq", "vcpu_id", "errno"),
    [
        (24, 0, Errno.EINVAL),
        (2**32 - 1, 0, Errno.EINVAL),
        (Virq.CONSOLE, 1, Errno.EINVAL),
        (Virq.TIMER, 2, Errno.ENOENT),
    ],
)
def test_virqs_that_do_not_exist(virq: int, vcpu_id: int, errno: Errno) -> None:
    record = EvtchnBindVirq(virq, vcpu_id, 0)
    assert errno_of(Guest(), EventChannelOp.bind_virq, EVTCHN_BIND_VIRQ, record) is errno


def test_an_unbound_virq_is_dropped() -> None:
    guest = Guest()
    guest.table.raise_virq(Virq.DEBUG, 1)
    assert not any(guest.pending)


def test_there_are_no_physical_interrupts() -> None:
    record = EvtchnBindPirq(3, 0, 0)
    assert errno_of(Guest(), EventChannelOp.bind_pirq, EVTCHN_BIND_PIRQ, record) is Errno.EINVAL


def test_bind_vcpu_moves_interdomain_ports_only() -> None:
    guest = Guest()
    cmd = EventChannelOp.bind_vcpu
    port = alloc_unbound(guest, 0)
    guest.hypercall(cmd, EVTCHN_BIND_VCPU, EvtchnBindVcpu(port, 1))
    assert status(guest, port).vcpu == 1
    record = EvtchnBindVcpu(port, 2)
    assert errno_of(guest, cmd, EVTCHN_BIND_VCPU, record) is Errno.ENOENT
    ipi = bind_ipi(guest)
    for wrong in (ipi, 0, 3, 500):
        assert errno_of(guest, cmd, EVTCHN_BIND_VCPU, EvtchnBindVcpu(wrong, 1)) is Errno.EINVAL
    close(guest, port)
    assert alloc_unbound(guest, 0) == port
    assert status(guest, port).vcpu == 0


@pytest.mark.parametrize("port", [0, 1, 63, 64, 4096, 2**32 - 1])
def test_close_and_send_of_what_is_not_bound(port: int) -> None:
    guest = Guest()
    assert errno_of(guest, EventChannelOp.close, EVTCHN_CLOSE, EvtchnClose(port)) is Errno.EINVAL
    assert errno_of(guest, EventChannelOp.send, EVTCHN_SEND, EvtchnSend(port)) is Errno.EINVAL


def test_send_on_a_virq_port_is_refused() -> None:
    guest = Guest()
    record = EvtchnSend(bind_virq(guest, Virq.DEBUG))
    assert errno_of(guest, EventChannelOp.send, EVTCHN_SEND, record) is Errno.EINVAL


def test_close_forgets_a_pending_event() -> None:
    guest = Guest()
    port = bind_ipi(guest)
    send(guest, port)
    close(guest, port)
    assert not is_pending(guest, port)


def test_status_of_ipi_free_invalid_and_foreign_ports() -> None:
    guest = Guest()
    port = bind_ipi(guest, 1)
    assert status(guest, port)[2:4] == (EventChannelStatus.ipi, 1)
    assert status(guest, 0).status == EventChannelStatus.closed
    assert status(guest, 63).status == EventChannelStatus.closed
    cmd = EventChannelOp.status
    for dom, wrong, errno in (
        (OWN, 64, Errno.EINVAL),
        (OTHER, port, Errno.ESRCH),
        (0, port, Errno.EPERM),
    ):
        record = EvtchnStatus(dom, wrong, 0, 0, 0, 0)
        assert errno_of(guest, cmd, EVTCHN_STATUS, record) is errno


def test_reset_closes_everything_and_returns_to_2_level() -> None:
    guest = Guest()
    ports = [bind_ipi(guest), bind_virq(guest, Virq.TIMER), alloc_unbound(guest, 0)]
    heard: list[int] = []
    backend = guest.table.bind_backend(ports[2], 0, lambda: heard.append(1))
    guest.hypercall(EventChannelOp.init_control, EVTCHN_INIT_CONTROL, EvtchnInitControl(3, 0, 0, 0))
    guest.hypercall(EventChannelOp.reset, EVTCHN_RESET, EvtchnReset(DOMID_SELF))
    assert {status(guest, port).status for port in ports} == {EventChannelStatus.closed}
    assert not backend.is_bound
    port = bind_ipi(guest)
    send(guest, port)
    assert is_pending(guest, port)
    cmd = EventChannelOp.reset
    assert errno_of(guest, cmd, EVTCHN_RESET, EvtchnReset(OTHER)) is Errno.ESRCH
    assert errno_of(guest, cmd, EVTCHN_RESET, EvtchnReset(0)) is Errno.EPERM


@pytest.mark.parametrize(
    ("gfn", "offset", "vcpu_id", "errno"),
    [
        (3, 0, 2, Errno.ENOENT),
        (3, 4096 - 71, 0, Errno.EINVAL),
        (3, 4096 - 64, 0, Errno.EINVAL),
        (3, 4, 0, Errno.EINVAL),
        (2**52, 0, 0, Errno.EINVAL),
    ],
)
def test_control_blocks_that_cannot_be(gfn: int, offset: int, vcpu_id: int, errno: Errno) -> None:
    guest = Guest()
    record = EvtchnInitControl(gfn, offset, vcpu_id, 0)
    cmd = EventChannelOp.init_control
    assert errno_of(guest, cmd, EVTCHN_INIT_CONTROL, record) is errno
    record_array = EvtchnExpandArray(4)
    errno_array = errno_of(guest, EventChannelOp.expand_array, EVTCHN_EXPAND_ARRAY, record_array)
    assert errno_array is Errno.EOPNOTSUPP, "the domain still uses the 2-level ABI"


def test_a_control_block_is_placed_once_and_answers_the_link_bits() -> None:
    guest = Guest()
    cmd = EventChannelOp.init_control
    record = EvtchnInitControl(3, 4096 - 72, 0, 0)
    assert guest.hypercall(cmd, EVTCHN_INIT_CONTROL, record).link_bits == 17
    assert errno_of(guest, cmd, EVTCHN_INIT_CONTROL, record) is Errno.EINVAL
    guest.hypercall(cmd, EVTCHN_INIT_CONTROL, record._replace(vcpu=1))


def test_the_event_array_has_128_pages() -> None:
    guest = Guest(max_port=2**17)
    guest.table.init_control(0, guest_gfn(3), 0)
    cmd = EventChannelOp.expand_array
    for page in range(128):
        guest.hypercall(cmd, EVTCHN_EXPAND_ARRAY, EvtchnExpandArray(page + 4))
    assert errno_of(guest, cmd, EVTCHN_EXPAND_ARRAY, EvtchnExpandArray(4)) is Errno.ENOSPC


def guest_gfn(number: int) -> Any:
    return number


def test_priorities_are_of_the_fifo_abi() -> None:
    guest = Guest()
    port = bind_ipi(guest)
    cmd = EventChannelOp.set_priority
    record = EvtchnSetPriority(port, 3)
    assert errno_of(guest, cmd, EVTCHN_SET_PRIORITY, record) is Errno.ENOSYS
    guest.table.init_control(0, guest_gfn(3), 0)
    guest.hypercall(cmd, EVTCHN_SET_PRIORITY, record)
    for wrong, errno in (
        (EvtchnSetPriority(port, 16), Errno.EINVAL),
        (EvtchnSetPriority(port + 1, 3), Errno.EACCES),
        (EvtchnSetPriority(5000, 3), Errno.EINVAL),
    ):
        assert errno_of(guest, cmd, EVTCHN_SET_PRIORITY, wrong) is errno


def test_unknown_operations_and_bad_addresses() -> None:
    guest = Guest()
    for cmd in (14, -1, 2**31):
        with pytest.raises(XenError, match="ENOSYS"):
            event_channel_op(guest.table, guest, cmd, ARGUMENT)
    for cmd in EventChannelOp:
        with pytest.raises(XenError, match="EFAULT"):
            event_channel_op(guest.table, guest, cmd, GuestVirt(2**47 - 1))


def small_or_any(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 8) | st.sampled_from([OWN, DOMID_SELF]) | st.integers(0, 2**bits - 1)


WORDS = st.lists(small_or_any(32), min_size=6, max_size=6)


@given(st.lists(st.tuples(st.integers(0, 15), WORDS), max_size=30))
@example([(EventChannelOp.init_control, [3, 0, 0, 0, 0, 0]), (EventChannelOp.bind_ipi, [0] * 6)])
def test_whatever_the_arguments_the_answer_is_zero_or_an_errno(
    calls: list[tuple[int, list[int]]],
) -> None:
    guest = Guest(max_port=20)
    for cmd, words in calls:
        image = b"".join(word.to_bytes(4, "little") for word in words)
        guest.copy_to(ARGUMENT, image)
        try:
            result = event_channel_op(guest.table, guest, cmd, ARGUMENT)
        except XenError:
            continue
        assert result == 0


@given(st.lists(st.tuples(st.sampled_from(EventChannelOp), st.binary(min_size=24, max_size=24))))
def test_random_bytes_as_arguments(calls: list[tuple[EventChannelOp, bytes]]) -> None:
    guest = Guest(max_port=20)
    for cmd, image in calls:
        guest.copy_to(ARGUMENT, image)
        try:
            assert event_channel_op(guest.table, guest, cmd, ARGUMENT) == 0
        except XenError:
            continue
