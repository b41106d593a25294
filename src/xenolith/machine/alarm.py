"""A one-shot alarm that a thread can sleep on: a timerfd (timerfd_create(2))."""

from __future__ import annotations

import ctypes
import os
import weakref

_libc = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC = 1
_TFD_CLOEXEC = 0o2000000
_NANOSECONDS = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    ]


class Alarm:
    """Rings once after a delay; arming it again replaces the delay."""

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "cannot create a timer")
        self.close = weakref.finalize(self, os.close, self._fd)
        """Releases the descriptor, as the end of the object does; no thread may be waiting."""
        self._spec = _Itimerspec()
        self._pointer = ctypes.byref(self._spec)
        # Arming gives up the GIL, so what another thread arms with must not be written meanwhile.
        self._now = ctypes.byref(_Itimerspec(value_ns=1))
        self._settime = _libc.timerfd_settime

    def ring_after(self, delay_ns: int) -> None:
        """Ring in ``delay_ns``, at once if that is not positive; from one thread only."""
        self._spec.value_s, self._spec.value_ns = divmod(max(delay_ns, 1), _NANOSECONDS)
        self._settime(self._fd, 0, self._pointer, None)

    def ring_now(self) -> None:
        """Ring at once; from any thread."""
        self._settime(self._fd, 0, self._now, None)

    def silence(self) -> None:
        """Ring no more before it is set again; from the thread that calls :meth:`ring_after` only."""
        self._spec.value_s = self._spec.value_ns = 0
        self._settime(self._fd, 0, self._pointer, None)

    def fileno(self) -> int:
        """A descriptor that is readable when it rings."""
        return self._fd

    def wait(self) -> None:
        """Sleep until it rings."""
        os.read(self._fd, 8)
