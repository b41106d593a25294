"""The event_channel_op hypercall and the two ABIs by which events reach the guest.

Mirrors public/event_channel.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U8, U16, U32, U64, Layout

HEADER = "event_channel.h"


@c_constants("EVTCHNOP_")
class EventChannelOp(IntEnum):
    """First argument of event_channel_op."""

    bind_interdomain = 0
    bind_virq = 1
    bind_pirq = 2
    close = 3
    send = 4
    status = 5
    alloc_unbound = 6
    bind_ipi = 7
    bind_vcpu = 8
    unmask = 9
    reset = 10
    init_control = 11
    expand_array = 12
    set_priority = 13


class EvtchnAllocUnbound(NamedTuple):
    """Allocate a port of ``dom`` that ``remote_dom`` may bind."""

    dom: U16
    remote_dom: U16
    port: U32


EVTCHN_ALLOC_UNBOUND = Layout(EvtchnAllocUnbound, "struct evtchn_alloc_unbound", HEADER)


class EvtchnBindInterdomain(NamedTuple):
    """Bind a new ``local_port`` to the unbound ``remote_port`` of ``remote_dom``."""

    remote_dom: U16
    remote_port: U32
    local_port: U32


EVTCHN_BIND_INTERDOMAIN = Layout(EvtchnBindInterdomain, "struct evtchn_bind_interdomain", HEADER)


class EvtchnBindVirq(NamedTuple):
    """Bind a VIRQ of a vCPU to a new port."""

    virq: U32
    vcpu: U32
    port: U32


EVTCHN_BIND_VIRQ = Layout(EvtchnBindVirq, "struct evtchn_bind_virq", HEADER)


class EvtchnBindPirq(NamedTuple):
    """Bind a physical interrupt to a new port."""

    pirq: U32
    flags: U32
    port: U32


EVTCHN_BIND_PIRQ = Layout(EvtchnBindPirq, "struct evtchn_bind_pirq", HEADER)


class EvtchnBindIpi(NamedTuple):
    """Bind a new port to itself, delivered to ``vcpu``."""

    vcpu: U32
    port: U32


EVTCHN_BIND_IPI = Layout(EvtchnBindIpi, "struct evtchn_bind_ipi", HEADER)


class EvtchnClose(NamedTuple):
    """Close ``port``."""

    port: U32


EVTCHN_CLOSE = Layout(EvtchnClose, "struct evtchn_close", HEADER)


class EvtchnSend(NamedTuple):
    """Notify the remote end of ``port``."""

    port: U32


EVTCHN_SEND = Layout(EvtchnSend, "struct evtchn_send", HEADER)


@c_constants("EVTCHNSTAT_")
class EventChannelStatus(IntEnum):
    """What a port is bound to."""

    closed = 0
    unbound = 1
    interdomain = 2
    pirq = 3
    virq = 4
    ipi = 5


class EvtchnStatus(NamedTuple):
    """The state of a port.

    ``u`` is a pirq, a virq, or in its low 16 bits the domain of an unbound or interdomain port.
    """

    dom: U16
    port: U32
    status: U32
    vcpu: U32
    u: U32
    remote_port: U32


EVTCHN_STATUS = Layout(
    EvtchnStatus, "struct evtchn_status", HEADER, {"remote_port": "u.interdomain.port"}
)


class EvtchnBindVcpu(NamedTuple):
    """Deliver ``port`` to ``vcpu``."""

    port: U32
    vcpu: U32


EVTCHN_BIND_VCPU = Layout(EvtchnBindVcpu, "struct evtchn_bind_vcpu", HEADER)


class EvtchnUnmask(NamedTuple):
    """Unmask ``port``."""

    port: U32


EVTCHN_UNMASK = Layout(EvtchnUnmask, "struct evtchn_unmask", HEADER)


class EvtchnReset(NamedTuple):
    """Close all ports of ``dom``."""

    dom: U16


EVTCHN_RESET = Layout(EvtchnReset, "struct evtchn_reset", HEADER)


class EvtchnInitControl(NamedTuple):
    """Place a vCPU's FIFO control block; ``link_bits`` is an answer."""

    control_gfn: U64
    offset: U32
    vcpu: U32
    link_bits: U8
    pad: Annotated[bytes, "7s"] = bytes(7)


EVTCHN_INIT_CONTROL = Layout(EvtchnInitControl, "struct evtchn_init_control", HEADER)


class EvtchnExpandArray(NamedTuple):
    """Add a page of event words."""

    array_gfn: U64


EVTCHN_EXPAND_ARRAY = Layout(EvtchnExpandArray, "struct evtchn_expand_array", HEADER)


class EvtchnSetPriority(NamedTuple):
    """Queue ``port`` at ``priority`` from its next event on."""

    port: U32
    priority: U32


EVTCHN_SET_PRIORITY = Layout(EvtchnSetPriority, "struct evtchn_set_priority", HEADER)

EVTCHN_2L_NR_CHANNELS = 4096

EVTCHN_FIFO_PRIORITY_MAX = 0
EVTCHN_FIFO_PRIORITY_DEFAULT = 7
EVTCHN_FIFO_PRIORITY_MIN = 15
EVTCHN_FIFO_MAX_QUEUES = 16

EVTCHN_FIFO_PENDING = 31
EVTCHN_FIFO_MASKED = 30
EVTCHN_FIFO_LINKED = 29
EVTCHN_FIFO_BUSY = 28
EVTCHN_FIFO_LINK_BITS = 17
EVTCHN_FIFO_LINK_MASK = (1 << 17) - 1
EVTCHN_FIFO_NR_CHANNELS = 1 << 17


class EvtchnFifoControlBlock(NamedTuple):
    """A vCPU's queues: a bit in ``ready`` for each that is not empty, and their heads."""

    ready: U32
    pad: U32
    head: Annotated[tuple[int, ...], "16I"]


EVTCHN_FIFO_CONTROL_BLOCK = Layout(
    EvtchnFifoControlBlock, "struct evtchn_fifo_control_block", HEADER
)
