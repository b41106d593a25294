"""What the event channels need of a vCPU, and what the two guest-facing ABIs have in common.

The counterpart of struct evtchn_port_ops and vcpu_mark_events_pending in Xen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xenolith.hypervisor.event_channel.channel import Channel

UPCALL_PENDING = 0
"""Offset of evtchn_upcall_pending in vcpu_info."""


class UpcallTarget(Protocol):
    """A vCPU as the event channels see it."""

    @property
    def info(self) -> memoryview | None:
        """Its 64-byte vcpu_info, format ``B``, wherever it now is; None while it has none."""
        ...

    def wake(self) -> None:
        """An event is pending for it, or one that it polls for: let it run and look."""
        ...


class Delivery(Protocol):
    """One of the ABIs by which pending events are shown to the guest.

    The words shared with the guest are changed by plain read-modify-write: no guest code runs
    meanwhile. A vCPU whose ``info`` is None misses the upcall but not the event, because all
    events count as pending once it registers one.
    """

    capacity: int
    """How many ports the ABI can number."""

    def set_pending(self, channel: Channel) -> None:
        """Make an event pending, and the upcall of its vCPU unless it is masked."""
        ...

    def clear_pending(self, channel: Channel) -> None:
        """Forget a pending event."""
        ...

    def unmask(self, channel: Channel) -> None:
        """Clear the mask, and make the upcall if the event is pending."""
        ...

    def is_pending(self, channel: Channel) -> bool:
        """Whether the event is pending."""
        ...

    def is_masked(self, channel: Channel) -> bool:
        """Whether the guest has masked it."""
        ...

    def is_busy(self, channel: Channel) -> bool:
        """Whether the guest still has the port on a queue, so that it cannot be reused."""
        ...

    def set_priority(self, channel: Channel, priority: int) -> None:
        """Queue the port's next event at ``priority``; XenError(ENOSYS) if the ABI has none."""
        ...


class Pollers:
    """The vCPUs that sleep in sched_op poll, and the port that each waits for."""

    def __init__(self, vcpus: Sequence[UpcallTarget]) -> None:
        self._vcpus = vcpus
        self.waiting: dict[int, int | None] = {}
        """vCPU id to the only port it polls, or None if it polls several."""

    def event(self, port: int) -> None:
        """Wake whoever may be waiting for ``port``."""
        for vcpu_id, polled in list(self.waiting.items()):
            if polled is None or polled == port:
                del self.waiting[vcpu_id]
                self._vcpus[vcpu_id].wake()


def mark_upcall_pending(vcpu: UpcallTarget) -> None:
    """Set evtchn_upcall_pending and wake the vCPU, unless it was set already."""
    info = vcpu.info
    if info is not None and not info[UPCALL_PENDING]:
        info[UPCALL_PENDING] = 1
        vcpu.wake()
