"""Gets a thread out of KVM_RUN from another one: a signal that does nothing but interrupt."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

KICK_SIGNAL = signal.SIGRTMIN + 6

_libc = ctypes.CDLL(None, use_errno=True)
_libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]


def take_kicks() -> None:
    """Make the signal harmless in this process and those forked from it.

    Python's own handlers would run on the main thread and take the interpreter's lock for nothing. abs() takes an
    int as a handler does, and only computes.
    """
    _libc.signal(KICK_SIGNAL, ctypes.cast(_libc.abs, ctypes.c_void_p))


class Kicker:
    """Interrupts the thread that is has entered and not left."""

    def __init__(self) -> None:
        self._thread = 0

    def enter(self) -> None:
        """This thread may be kicked from now on."""
        self._thread = threading.get_native_id()

    def leave(self) -> None:
        """Not any more; a kick that is on its way comes to nothing."""
        self._thread = 0

    def kick(self) -> None:
        """From any thread."""
        thread = self._thread
        if thread:
            # By tgkill(2): the thread may have ended meanwhile, which pthread_kill(3) does not survive.
            _libc.tgkill(os.getpid(), thread, KICK_SIGNAL)
