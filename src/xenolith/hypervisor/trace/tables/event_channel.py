"""event_channel_op for a trace (public/event_channel.h)."""

from __future__ import annotations

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
    EvtchnStatus,
)
from xenolith.abi.xen import DOMID_MASK, Virq
from xenolith.hypervisor.trace import values
from xenolith.hypervisor.trace.decoding import Call, Commands, Look
from xenolith.hypervisor.trace.structs import Struct

_virq = values.one_of(Virq)


def _bound_to(status: EvtchnStatus, _look: Look) -> str:
    """What the union holds depends on what the port is bound to."""
    match status.status:
        case EventChannelStatus.virq:
            return _virq(status.u)
        case EventChannelStatus.unbound | EventChannelStatus.interdomain:
            return values.domid(status.u & DOMID_MASK)
        case _:
            return values.number(status.u)


_STATUS = Struct(
    EVTCHN_STATUS,
    outs=("status", "vcpu", "u", "remote_port"),
    show={"status": values.one_of(EventChannelStatus)},
    derived={"u": _bound_to},
)

EVENT_CHANNEL_OP = Commands(
    EventChannelOp,
    {
        EventChannelOp.bind_interdomain: Call(Struct(EVTCHN_BIND_INTERDOMAIN, ("local_port",))),
        EventChannelOp.bind_virq: Call(Struct(EVTCHN_BIND_VIRQ, ("port",), show={"virq": _virq})),
        EventChannelOp.bind_pirq: Call(Struct(EVTCHN_BIND_PIRQ, ("port",), show={"flags": hex})),
        EventChannelOp.close: Call(Struct(EVTCHN_CLOSE)),
        EventChannelOp.send: Call(Struct(EVTCHN_SEND)),
        EventChannelOp.status: Call(_STATUS),
        EventChannelOp.alloc_unbound: Call(Struct(EVTCHN_ALLOC_UNBOUND, ("port",))),
        EventChannelOp.bind_ipi: Call(Struct(EVTCHN_BIND_IPI, ("port",))),
        EventChannelOp.bind_vcpu: Call(Struct(EVTCHN_BIND_VCPU)),
        EventChannelOp.unmask: Call(Struct(EVTCHN_UNMASK)),
        EventChannelOp.reset: Call(Struct(EVTCHN_RESET)),
        EventChannelOp.init_control: Call(Struct(EVTCHN_INIT_CONTROL, ("link_bits",))),
        EventChannelOp.expand_array: Call(Struct(EVTCHN_EXPAND_ARRAY)),
        EventChannelOp.set_priority: Call(Struct(EVTCHN_SET_PRIORITY)),
    },
)
