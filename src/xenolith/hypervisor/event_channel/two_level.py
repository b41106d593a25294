"""The 2-level event channel ABI: bitmaps in shared_info, a selector per vCPU.

Behaves as Xen's common/event_2l.c: with words of 64 bits there are 4096 ports, of 32 bits 1024.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.compat import SHARED_INFO_32
from xenolith.abi.errno import Errno, XenError
from xenolith.abi.xen import SHARED_INFO, VCPU_INFO
from xenolith.hypervisor.event_channel.channel import Channel
from xenolith.hypervisor.event_channel.delivery import (
    Pollers,
    UpcallTarget,
    mark_upcall_pending,
)

_OFFSETS = {
    8: SHARED_INFO.offsets | VCPU_INFO.offsets,
    4: SHARED_INFO_32.offsets | VCPU_INFO.compat.offsets,
}
"""Of the fields of both structs, by the bytes of a word."""


def capacity(word: int) -> int:
    """How many ports there can be with words of ``word`` bytes: a bit for each bit of a selector's."""
    return (8 * word) ** 2


def selector(word: int) -> slice:
    """Where a vcpu_info has evtchn_pending_sel."""
    start = _OFFSETS[word]["evtchn_pending_sel"]
    return slice(start, start + word)


class TwoLevel:
    """Delivery through the shared info page ``shared_info`` (format ``B``) of a guest's words."""

    def __init__(
        self, shared_info: memoryview, vcpus: Sequence[UpcallTarget], pollers: Pollers, word: int
    ) -> None:
        offsets = _OFFSETS[word]
        self.capacity = capacity(word)
        pending, mask = offsets["evtchn_pending"], offsets["evtchn_mask"]
        size = self.capacity // 8
        self._pending = shared_info[pending : pending + size].cast("Q")
        self._mask = shared_info[mask : mask + size].cast("Q")
        self._selector = selector(word).start
        self._port_shift = (8 * word).bit_length() - 1
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
        word = channel.port >> self._port_shift
        index, bit = self._selector + (word >> 3), 1 << (word & 7)
        selected = info[index]
        if not selected & bit:
            info[index] = selected | bit
            mark_upcall_pending(vcpu)
