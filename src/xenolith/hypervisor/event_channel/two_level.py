"""The 2-level event channel ABI: bitmaps of 4096 ports in shared_info, a selector per vCPU.

Behaves as Xen's common/event_2l.c does for a 64-bit guest.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.event_channel import EVTCHN_2L_NR_CHANNELS
from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.hypervisor.event_channel.channel import Channel
from xenolith.hypervisor.event_channel.delivery import (
    Pollers,
    UpcallTarget,
    mark_upcall_pending,
)

_PENDING = SHARED_INFO.offsets["evtchn_pending"]
_MASK = SHARED_INFO.offsets["evtchn_mask"]
_BITMAP_SIZE = EVTCHN_2L_NR_CHANNELS // 8
_PENDING_SEL = VCPU_INFO.offsets["evtchn_pending_sel"]


class TwoLevel:
    """Delivery through the shared info page ``shared_info`` (format ``B``)."""

    capacity = EVTCHN_2L_NR_CHANNELS

    def __init__(
        self, shared_info: memoryview, vcpus: Sequence[UpcallTarget], pollers: Pollers
    ) -> None:
        self._pending = shared_info[_PENDING : _PENDING + _BITMAP_SIZE].cast("Q")
        self._mask = shared_info[_MASK : _MASK + _BITMAP_SIZE].cast("Q")
        self._vcpus = vcpus
        self._pollers = pollers

    def set_pending(self, channel: Channel) -> None:
        """See :class:`Delivery`."""
        word, bit = channel.word, channel.bit
        pending = self._pending[word]
        if pending & bit:
            return
        self._pending[word] = pending | bit
        if not self._mask[word] & bit:
            self._select(channel)
        if self._pollers.waiting:
            self._pollers.event(channel.port)

    def clear_pending(self, channel: Channel) -> None:
        """See :class:`Delivery`."""
        self._pending[channel.word] &= ~channel.bit

    def unmask(self, channel: Channel) -> None:
        """See :class:`Delivery`."""
        word, bit = channel.word, channel.bit
        mask = self._mask[word]
        if mask & bit:
            self._mask[word] = mask & ~bit
            if self._pending[word] & bit:
                self._select(channel)

    def is_pending(self, channel: Channel) -> bool:
        """See :class:`Delivery`."""
        return self._pending[channel.word] & channel.bit != 0

    def is_masked(self, channel: Channel) -> bool:
        """See :class:`Delivery`."""
        return self._mask[channel.word] & channel.bit != 0

    def is_busy(self, channel: Channel) -> bool:
        """A bitmap holds on to nothing."""
        return False

    def set_priority(self, channel: Channel, priority: int) -> None:
        """Bitmaps have no priorities: XenError(ENOSYS)."""
        raise XenError(Errno.ENOSYS, "the 2-level event channel ABI has no priorities")

    def _select(self, channel: Channel) -> None:
        """Set the port's word in its vCPU's selector; the first setter makes the upcall."""
        vcpu = self._vcpus[channel.vcpu_id]
        info = vcpu.info
        if info is None:
            return
        index, bit = _PENDING_SEL + (channel.word >> 3), 1 << (channel.word & 7)
        selected = info[index]
        if not selected & bit:
            info[index] = selected | bit
            mark_upcall_pending(vcpu)
