"""The FIFO event channel ABI: an event word per port, 16 queues of linked words per vCPU.

Behaves as Xen's common/event_fifo.c does; the ABI is described in
docs/misc/event-channel-fifo and public/event_channel.h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenolith.abi.errno import Errno, XenError
from xenolith.abi.event_channel import (
    EVTCHN_FIFO_BUSY,
    EVTCHN_FIFO_CONTROL_BLOCK,
    EVTCHN_FIFO_LINK_MASK,
    EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS,
    EVTCHN_FIFO_PENDING,
    EVTCHN_FIFO_PRIORITY_MIN,
)
from xenolith.hypervisor.event_channel.channel import Channel
from xenolith.hypervisor.event_channel.delivery import (
    Pollers,
    UpcallTarget,
    mark_upcall_pending,
)
from xenolith.machine.address import PAGE_SIZE, Gfn

MapFrame = Callable[[Gfn], memoryview]
"""Gives a writable view (format ``B``) of a guest frame, or XenError(EINVAL)."""

_PENDING = 1 << EVTCHN_FIFO_PENDING
_MASKED = 1 << EVTCHN_FIFO_MASKED
_LINKED = 1 << EVTCHN_FIFO_LINKED
_RELINK = ~(1 << EVTCHN_FIFO_BUSY | EVTCHN_FIFO_LINK_MASK)

_WORDS_PER_PAGE = PAGE_SIZE // 4
_PAGE_SHIFT = _WORDS_PER_PAGE.bit_length() - 1
_WORD_MASK = _WORDS_PER_PAGE - 1
_MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS // _WORDS_PER_PAGE

_READY = EVTCHN_FIFO_CONTROL_BLOCK.offsets["ready"] // 4
_HEAD = EVTCHN_FIFO_CONTROL_BLOCK.offsets["head"] // 4


class _Queues:
    """A vCPU's queues: its control block, once it has one, and the port at the end of each.

    The tails are ours alone, so whatever the guest writes into its words, no walk follows it.
    """

    __slots__ = ("control", "tails")

    def __init__(self) -> None:
        self.control: memoryview | None = None
        self.tails = [0] * EVTCHN_FIFO_MAX_QUEUES


class Fifo:
    """Delivery through event words and queues in frames that the guest provides."""

    capacity = EVTCHN_FIFO_NR_CHANNELS

    def __init__(
        self, map_frame: MapFrame, vcpus: Sequence[UpcallTarget], pollers: Pollers
    ) -> None:
        self._map_frame = map_frame
        self._vcpus = vcpus
        self._pollers = pollers
        self._pages: list[memoryview] = []
        self._queues = [_Queues() for _ in vcpus]

    @property
    def words(self) -> int:
        """How many ports have an event word."""
        return len(self._pages) * _WORDS_PER_PAGE

    def add_control_block(self, vcpu_id: int, gfn: Gfn, offset: int) -> None:
        """Place a vCPU's control block, once; XenError(EINVAL)."""
        size = EVTCHN_FIFO_CONTROL_BLOCK.size
        if offset > PAGE_SIZE - size or offset % 8:
            raise XenError(Errno.EINVAL, f"a control block cannot be at offset {offset:#x}")
        queues = self._queues[vcpu_id]
        if queues.control is not None:
            raise XenError(Errno.EINVAL, f"vCPU {vcpu_id} has a control block")
        queues.control = self._map_frame(gfn)[offset : offset + size].cast("I")

    def add_page(self, gfn: Gfn) -> range:
        """Add a page of event words and return its ports; XenError(EINVAL, ENOSPC)."""
        if len(self._pages) >= _MAX_PAGES:
            raise XenError(Errno.ENOSPC, "the event array is complete")
        first = self.words
        self._pages.append(self._map_frame(gfn).cast("I"))
        return range(first, self.words)

    def set_pending(self, channel: Channel) -> None:
        """See :class:`Delivery`; without a control block of its vCPU the event is lost."""
        port = channel.port
        try:
            page = self._pages[port >> _PAGE_SHIFT]
        except IndexError:
            channel.pending = True
            return
        queues = self._queues[channel.vcpu_id]
        control = queues.control
        if control is None:
            return
        index = port & _WORD_MASK
        word = page[index]
        if word & (_MASKED | _LINKED):
            page[index] = word | _PENDING
        else:
            page[index] = word | _PENDING | _LINKED
            self._link(channel, queues, control)
        if self._pollers.waiting and not word & _PENDING:
            self._pollers.event(port)

    def _link(self, channel: Channel, queues: _Queues, control: memoryview) -> None:
        """Append a port to the queue of its vCPU and priority."""
        port, priority, vcpu_id = channel.port, channel.priority, channel.vcpu_id
        tails = queues.tails
        # The guest took the port off before it was linked again; a queue that it ended is empty.
        last_vcpu, last_priority = channel.queue
        last_tails = self._queues[last_vcpu].tails
        if last_tails[last_priority] == port:
            last_tails[last_priority] = 0
        if channel.queue != (vcpu_id, priority):
            channel.queue = (vcpu_id, priority)
        tail = tails[priority]
        tails[priority] = port
        if tail and self._set_link(tail, port):
            return
        control[_HEAD + priority] = port
        ready = control[_READY]
        if not ready >> priority & 1:
            control[_READY] = ready | 1 << priority
            mark_upcall_pending(self._vcpus[vcpu_id])

    def _set_link(self, tail: int, port: int) -> bool:
        """Let the word of ``tail`` point to ``port`` if it still is on a queue."""
        page, index = self._pages[tail >> _PAGE_SHIFT], tail & _WORD_MASK
        word = page[index]
        if not word & _LINKED:
            return False
        page[index] = word & _RELINK | port
        return True

    def clear_pending(self, channel: Channel) -> None:
        """See :class:`Delivery`; the guest takes the word off its queue and ignores it."""
        channel.pending = False
        page = self._page(channel)
        if page is not None:
            page[channel.port & _WORD_MASK] &= ~_PENDING

    def unmask(self, channel: Channel) -> None:
        """See :class:`Delivery`."""
        page = self._page(channel)
        if page is None:
            return
        index = channel.port & _WORD_MASK
        word = page[index] & ~_MASKED
        page[index] = word
        if word & _PENDING:
            self.set_pending(channel)

    def is_pending(self, channel: Channel) -> bool:
        """See :class:`Delivery`."""
        return self._word(channel, 0) & _PENDING != 0

    def is_masked(self, channel: Channel) -> bool:
        """See :class:`Delivery`; a port without an event word is masked."""
        return self._word(channel, _MASKED) & _MASKED != 0

    def is_busy(self, channel: Channel) -> bool:
        """See :class:`Delivery`."""
        return self._word(channel, 0) & _LINKED != 0

    def set_priority(self, channel: Channel, priority: int) -> None:
        """See :class:`Delivery`; XenError(EACCES) if not bound, (EINVAL) beyond the lowest."""
        if not channel.is_usable:
            raise XenError(Errno.EACCES, f"port {channel.port} is not bound")
        if priority > EVTCHN_FIFO_PRIORITY_MIN:
            raise XenError(Errno.EINVAL, f"priority {priority}")
        channel.priority = priority

    def _page(self, channel: Channel) -> memoryview | None:
        page = channel.port >> _PAGE_SHIFT
        return self._pages[page] if page < len(self._pages) else None

    def _word(self, channel: Channel, absent: int) -> int:
        page = self._page(channel)
        return absent if page is None else page[channel.port & _WORD_MASK]
