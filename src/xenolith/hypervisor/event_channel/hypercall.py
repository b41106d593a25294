"""The event_channel_op hypercall: arguments in, checks of domain ids, answers out.

The argument structs are those of public/event_channel.h.
"""

from __future__ import annotations

from collections.abc import Callable

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
    EVTCHN_FIFO_LINK_BITS,
    EVTCHN_INIT_CONTROL,
    EVTCHN_RESET,
    EVTCHN_SEND,
    EVTCHN_SET_PRIORITY,
    EVTCHN_STATUS,
    EventChannelOp,
    EventChannelStatus,
)
from xenolith.abi.xen import DOMID_SELF
from xenolith.hypervisor.event_channel.channel import Channel, ChannelState
from xenolith.hypervisor.event_channel.table import EventChannelTable
from xenolith.hypervisor.guest_access import UINT, GuestAccess, read_struct, write_struct
from xenolith.machine.address import Gfn, GuestVirt

_SEND = int(EventChannelOp.send)
_UNMASK = int(EventChannelOp.unmask)
_PORT_SIZE = EVTCHN_SEND.size


def event_channel_op(
    table: EventChannelTable, access: GuestAccess, cmd: int, argument: GuestVirt
) -> int:
    """Do one operation (EventChannelOp) on the struct at ``argument``; XenError, or 0."""
    cmd &= UINT
    if cmd == _SEND:
        table.send(int.from_bytes(access.copy_from(argument, _PORT_SIZE), "little"))
    elif cmd == _UNMASK:
        table.unmask(int.from_bytes(access.copy_from(argument, _PORT_SIZE), "little"))
    else:
        operation = _OPERATIONS.get(cmd)
        if operation is None:
            raise XenError(Errno.ENOSYS, f"event channel operation {cmd}")
        operation(table, access, argument)
    return 0


def _check_own(table: EventChannelTable, domid: int) -> None:
    """Refuse to act on the ports of another domain: domain 0 is there, no third one is."""
    if domid not in (DOMID_SELF, table.domid):
        raise XenError(Errno.ESRCH if domid else Errno.EPERM, f"ports of domain {domid}")


def _alloc_unbound(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_ALLOC_UNBOUND, argument)
    _check_own(table, record.dom)
    remote = table.domid if record.remote_dom == DOMID_SELF else record.remote_dom
    answer = record._replace(port=table.alloc_unbound(remote))
    write_struct(access, EVTCHN_ALLOC_UNBOUND, argument, answer)


def _bind_interdomain(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_BIND_INTERDOMAIN, argument)
    if record.remote_dom not in (DOMID_SELF, table.domid):
        # Domain 0 never leaves a port unbound for a guest: its backends bind the guest's.
        errno = Errno.ESRCH if record.remote_dom else Errno.EINVAL
        raise XenError(errno, f"a port of domain {record.remote_dom}")
    answer = record._replace(local_port=table.bind_interdomain(record.remote_port))
    write_struct(access, EVTCHN_BIND_INTERDOMAIN, argument, answer)


def _bind_virq(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_BIND_VIRQ, argument)
    answer = record._replace(port=table.bind_virq(record.virq, record.vcpu))
    write_struct(access, EVTCHN_BIND_VIRQ, argument, answer)


def _bind_ipi(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_BIND_IPI, argument)
    answer = record._replace(port=table.bind_ipi(record.vcpu))
    write_struct(access, EVTCHN_BIND_IPI, argument, answer)


def _bind_pirq(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_BIND_PIRQ, argument)
    raise XenError(Errno.EINVAL, f"there is no physical interrupt {record.pirq}")


def _close(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    table.close(read_struct(access, EVTCHN_CLOSE, argument).port)


def _status(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_STATUS, argument)
    _check_own(table, record.dom)
    channel = table.status(record.port)
    status, answer = _status_of(channel)
    record = record._replace(status=status, vcpu=channel.vcpu_id, **answer)
    write_struct(access, EVTCHN_STATUS, argument, record)


def _status_of(channel: Channel) -> tuple[EventChannelStatus, dict[str, int]]:
    """The public name of a channel's state, and the answer fields that go with it."""
    match channel.state:
        case ChannelState.UNBOUND:
            return EventChannelStatus.unbound, {"u": channel.remote_domid}
        case ChannelState.INTERDOMAIN:
            ends = {"u": channel.remote_domid, "remote_port": channel.remote_port}
            return EventChannelStatus.interdomain, ends
        case ChannelState.VIRQ:
            return EventChannelStatus.virq, {"u": channel.virq}
        case ChannelState.IPI:
            return EventChannelStatus.ipi, {}
        case _:
            return EventChannelStatus.closed, {}


def _bind_vcpu(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_BIND_VCPU, argument)
    table.bind_vcpu(record.port, record.vcpu)


def _reset(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    _check_own(table, read_struct(access, EVTCHN_RESET, argument).dom)
    table.reset()


def _init_control(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_INIT_CONTROL, argument)
    table.init_control(record.vcpu, Gfn(record.control_gfn), record.offset)
    answer = record._replace(link_bits=EVTCHN_FIFO_LINK_BITS)
    write_struct(access, EVTCHN_INIT_CONTROL, argument, answer)


def _expand_array(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    table.expand_array(Gfn(read_struct(access, EVTCHN_EXPAND_ARRAY, argument).array_gfn))


def _set_priority(table: EventChannelTable, access: GuestAccess, argument: GuestVirt) -> None:
    record = read_struct(access, EVTCHN_SET_PRIORITY, argument)
    table.set_priority(record.port, record.priority)


_OPERATIONS: dict[int, Callable[[EventChannelTable, GuestAccess, GuestVirt], None]] = {
    EventChannelOp.alloc_unbound: _alloc_unbound,
    EventChannelOp.bind_interdomain: _bind_interdomain,
    EventChannelOp.bind_virq: _bind_virq,
    EventChannelOp.bind_pirq: _bind_pirq,
    EventChannelOp.close: _close,
    EventChannelOp.status: _status,
    EventChannelOp.bind_ipi: _bind_ipi,
    EventChannelOp.bind_vcpu: _bind_vcpu,
    EventChannelOp.reset: _reset,
    EventChannelOp.init_control: _init_control,
    EventChannelOp.expand_array: _expand_array,
    EventChannelOp.set_priority: _set_priority,
}
