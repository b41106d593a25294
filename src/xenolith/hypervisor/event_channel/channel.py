"""One event channel, which is one port of the domain: what it is bound to and whom it notifies.

The states are those of struct evtchn in Xen's include/xen/sched.h.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from xenolith.abi.event_channel import EVTCHN_FIFO_PRIORITY_DEFAULT

Notify = Callable[[], None]
"""What a backend has called when the guest sends."""


class ChannelState(Enum):
    """What a port is bound to."""

    FREE = auto()
    RESERVED = auto()
    UNBOUND = auto()
    INTERDOMAIN = auto()
    VIRQ = auto()
    IPI = auto()


class Channel:
    """A port; :class:`EventChannelTable` changes it, the delivery reads it.

    A send on it makes ``local_end`` pending, if there is one (its own for an IPI, the peer's for
    a loopback), or else calls ``notify``, if there is one. ``word`` and ``bit`` locate the port
    in the 2-level bitmaps; ``pending``, ``priority`` and ``queue`` belong to the FIFO ABI.
    """

    __slots__ = (
        "bit",
        "local_end",
        "notify",
        "pending",
        "port",
        "priority",
        "queue",
        "remote_domid",
        "remote_port",
        "state",
        "vcpu_id",
        "virq",
        "word",
    )

    def __init__(self, port: int) -> None:
        self.port = port
        self.word = port >> 6
        self.bit = 1 << (port & 63)
        self.state = ChannelState.FREE
        self.vcpu_id = 0
        self.virq = 0
        self.remote_domid = 0
        self.remote_port = 0
        self.local_end: Channel | None = None
        self.notify: Notify | None = None
        self.priority = EVTCHN_FIFO_PRIORITY_DEFAULT
        self.queue: tuple[int, int] = (0, 0)
        """The vCPU and priority of the queue that the port was last on."""
        self.pending = False
        """Raised while the port had no event word yet."""

    @property
    def is_usable(self) -> bool:
        """Whether the guest has it bound to something."""
        return self.state is not ChannelState.FREE and self.state is not ChannelState.RESERVED
