"""Where a thread sleeps: until another thread wakes it, a descriptor is ready, or a time has come (ppoll(2)).

A descriptor that another thread watches otherwise is lent to the sleeper, so that what it is ready for
passes one thread less. It is given back when the sleeper has been awake for two milliseconds: who
sleeps again sooner sees for himself what has come meanwhile, and is not disturbed at work.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import weakref
from collections.abc import Callable
from typing import Protocol

from xenolith.machine.alarm import Alarm

_NANOSECONDS = 1_000_000_000
_SHORT_NS = 2_000_000
_LONGEST_S = 1 << 31
"""Somebody may ask for a moment that is further away than the host can wait."""


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


_ppoll = ctypes.CDLL(None).ppoll
_ppoll.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]


class Lender(Protocol):
    """Whose descriptor the sleeper watches; all but give_back() is called in the sleeping thread."""

    def fileno(self) -> int:
        """The descriptor."""

    def lend(self) -> bool:
        """The thread goes to sleep; whether it is to wake when the descriptor is readable."""

    def give_back(self) -> None:
        """The thread has been awake for a while; the other thread watches from now on, which calls this."""

    def readable(self) -> None:
        """The descriptor was readable, or its other end is gone."""


class Doze:
    """The sleep of one thread; only :meth:`wake` and :meth:`overdue` may be called from others.

    Whoever lends descriptors watches :meth:`fileno`, and calls :meth:`overdue` when it is readable.
    """

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._event)
        self._alarm = Alarm()
        os.set_blocking(self._alarm.fileno(), False)
        self._asleep = False
        self._timeout = _Timespec()
        self._lenders: list[Lender] = []
        self._watched = self._watch_all()

    def fileno(self) -> int:
        """A descriptor that is readable when the thread has been awake for a while."""
        return self._alarm.fileno()

    def overdue(self) -> None:
        """The thread has been awake for a while."""
        # By now it may sleep again.
        with contextlib.suppress(BlockingIOError):
            os.read(self._alarm.fileno(), 8)
            for lender in self._lenders:
                lender.give_back()

    def watch(self, lender: Lender) -> None:
        """Wake from now on when a descriptor is readable that is lent."""
        self._lenders = [*self._lenders, lender]
        self._watched = self._watch_all()

    def forget(self, lender: Lender) -> None:
        """Undo :meth:`watch`; harmless if that was not done."""
        if lender in self._lenders:
            self._lenders = [other for other in self._lenders if other is not lender]
            self._watched = self._watch_all()

    def wake(self) -> None:
        """End a sleep, from any thread: whoever sleeps afterwards asks first whether it may."""
        if self._asleep:
            os.eventfd_write(self._event, 1)

    def sleep(self, seconds: float | None, is_awake: Callable[[], bool]) -> None:
        """Sleep, for ``seconds`` at most, unless ``is_awake``; whoever makes that true calls wake()."""
        lenders, watched = self._lenders, self._watched
        if lenders:
            self._alarm.silence()
        self._asleep = True
        try:
            for index, lender in enumerate(lenders, 1):
                watched[index].fd = lender.fileno() if lender.lend() else -1
            if is_awake():
                return
            timeout = None
            if seconds is not None:
                self._timeout.s = int(min(seconds, _LONGEST_S))
                self._timeout.ns = int(seconds % 1 * _NANOSECONDS)
                timeout = ctypes.addressof(self._timeout)
            count = _ppoll(watched, len(watched), timeout, None)
        finally:
            self._asleep = False
            if lenders:
                self._alarm.ring_after(_SHORT_NS)
        if count <= 0:
            return
        if watched[0].revents:
            os.eventfd_read(self._event)
        for index, lender in enumerate(lenders, 1):
            if watched[index].fd >= 0 and watched[index].revents:
                lender.readable()

    def _watch_all(self) -> ctypes.Array[_PollFd]:
        """What ppoll() is to look at: the event, and each descriptor that may be lent."""
        watched = (_PollFd * (1 + len(self._lenders)))()
        for each in watched:
            each.fd, each.events = -1, select.POLLIN
        watched[0].fd = self._event
        return watched
