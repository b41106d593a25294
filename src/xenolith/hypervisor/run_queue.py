"""Which vCPU of a domain runs next: round robin, but one that was woken goes first while its slice lasts.

That is the boost of Xen's credit scheduler (xen/common/sched/credit.c) in small: vCPUs that wake each other for
ever use up their slices and then wait for their turn like all others. Sleep earns a share of a slice, as credits
are earned there.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

SLICE_NS = 5_000_000
WAKE_SLICE_NS = 500_000
"""How much longer a vCPU may run once another has been woken: the rate limit of Xen's credit scheduler."""


class RunQueue(Generic[T]):
    """The runnable vCPUs that do not run; a turn lasts ``slice_ns``, however often it is interrupted."""

    def __init__(self, slice_ns: int) -> None:
        self.slice_ns = slice_ns
        """May be changed: of turns that begin from then on."""
        self._woken: deque[T] = deque()
        self._waiting: deque[T] = deque()
        self._left: dict[T, int] = {}

    def __bool__(self) -> bool:
        return bool(self._woken or self._waiting)

    def add(self, vcpu: T) -> None:
        """Queue one that is new, behind all others."""
        self._left[vcpu] = self.slice_ns
        self._waiting.append(vcpu)

    def add_woken(self, vcpu: T, slept_ns: int = 0) -> None:
        """Queue one that was blocked: ahead of all that were not, unless its turn is over.

        Its share of the time that it slept is added to its turn, up to a whole one. So one that needs little
        never waits, however often it is woken.
        """
        # It, the one that runs, and those that are queued.
        contenders = 2 + len(self._woken) + len(self._waiting)
        self._left[vcpu] = min(self.slice_ns, self.time_left(vcpu) + slept_ns // contenders)
        if self.time_left(vcpu) > 0:
            self._woken.append(vcpu)
        else:
            self.add(vcpu)

    def add_interrupted(self, vcpu: T) -> None:
        """Queue one that ran and could go on: behind the woken, or behind all if its turn is over."""
        if self.time_left(vcpu) > 0:
            self._waiting.appendleft(vcpu)
        else:
            self.add(vcpu)

    def take(self) -> T:
        """The next to run; IndexError if there is none."""
        return (self._woken or self._waiting).popleft()

    def discard(self, vcpu: T) -> None:
        """Take one out that is no longer runnable; harmless if it is not queued."""
        for queue in (self._woken, self._waiting):
            if vcpu in queue:
                queue.remove(vcpu)

    def time_left(self, vcpu: T) -> int:
        """Nanoseconds of its turn that a vCPU has not used."""
        return self._left.get(vcpu, self.slice_ns)

    def charge(self, vcpu: T, nanoseconds: int) -> None:
        """A vCPU has used so much of its turn."""
        self._left[vcpu] = self.time_left(vcpu) - nanoseconds

    def end_turn(self, vcpu: T) -> None:
        """A vCPU leaves what remains of its turn to the others."""
        self._left[vcpu] = 0
