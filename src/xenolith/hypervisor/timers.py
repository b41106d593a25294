"""The timer queue of one domain: calls due at points of its system time, in nanoseconds since its start."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

_COMPACT_ABOVE = 64


class Timer:
    """A call that can be (re)armed; it holds at most one deadline at a time."""

    __slots__ = ("_callback", "_queue", "deadline", "serial")

    def __init__(self, queue: TimerQueue, callback: Callable[[], None]) -> None:
        self._queue = queue
        self._callback = callback
        self.deadline: int | None = None
        self.serial = 0

    def arm(self, deadline: int) -> None:
        """Call once the system time has reached ``deadline`` (ns)."""
        self.deadline = deadline
        self._queue.insert(self)

    def cancel(self) -> None:
        """Forget the deadline."""
        self.deadline = None

    def fire(self) -> None:
        """Make the call; the queue's part."""
        self.deadline = None
        self._callback()


class TimerQueue:
    """Timers ordered by deadline; ``on_earlier`` hears of a new first deadline."""

    def __init__(self, on_earlier: Callable[[int], None]) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._serials = itertools.count(1)
        self._on_earlier = on_earlier
        self._compact_above = _COMPACT_ABOVE

    def new(self, callback: Callable[[], None]) -> Timer:
        """A timer, not armed."""
        return Timer(self, callback)

    def insert(self, timer: Timer) -> None:
        """Queue an armed timer; its older entries become stale."""
        deadline = timer.deadline
        assert deadline is not None
        timer.serial = next(self._serials)
        heap = self._heap
        earlier = not heap or deadline < heap[0][0]
        heapq.heappush(heap, (deadline, timer.serial, timer))
        if len(heap) > self._compact_above:
            self._compact()
        if earlier:
            self._on_earlier(deadline)

    def next_deadline(self) -> int | None:
        """When the first timer is due, or None."""
        heap = self._heap
        while heap:
            deadline, serial, timer = heap[0]
            if timer.serial == serial and timer.deadline is not None:
                return deadline
            heapq.heappop(heap)
        return None

    def expire(self, now: int) -> None:
        """Fire every timer due at ``now``, in order."""
        while True:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                return
            heapq.heappop(self._heap)[2].fire()

    def _compact(self) -> None:
        """Drop stale entries, which a guest that keeps re-arming could otherwise pile up."""
        self._heap = [
            entry
            for entry in self._heap
            if entry[2].serial == entry[1] and entry[2].deadline is not None
        ]
        heapq.heapify(self._heap)
        self._compact_above = max(_COMPACT_ABOVE, 2 * len(self._heap))
