"""Waits for what a guest prints, in the file that its console goes to.

The kernel tells of writes to the file through inotify(7), so waiting costs the guest no time.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path
from typing import Protocol

from bench.errors import BenchError

_IN_MODIFY = 2
_PAUSE_S = 0.002
"""Between two looks: QEMU writes its serial port's output byte by byte."""

_libc = ctypes.CDLL(None, use_errno=True)


class Launcher(Protocol):
    """The process that starts a guest."""

    def fileno(self) -> int:
        """A pidfd."""

    def check_end(self) -> None:
        """Called when it has ended: BenchError if it leaves no guest behind."""


class ConsoleLog:
    """The file of one guest's console, made empty for the guest to append to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def text(self) -> str:
        """What has been printed so far."""
        return self._path.read_bytes().decode(errors="replace")

    def wait_for(self, marker: bytes, deadline: float, launcher: Launcher) -> float:
        """When the marker was seen; both moments are those of time.perf_counter().

        BenchError if it does not come.
        """
        inotify = _libc.inotify_init1(os.O_CLOEXEC)
        try:
            if _libc.inotify_add_watch(inotify, os.fsencode(self._path), _IN_MODIFY) < 0:
                raise OSError(ctypes.get_errno(), "cannot be watched", str(self._path))
            return self._wait(marker, deadline, inotify, launcher)
        finally:
            os.close(inotify)

    def _wait(self, marker: bytes, deadline: float, inotify: int, launcher: Launcher) -> float:
        events = select.poll()
        events.register(inotify, select.POLLIN)
        events.register(launcher, select.POLLIN)
        while marker not in self._path.read_bytes():
            time.sleep(_PAUSE_S)
            remaining = deadline - time.perf_counter()
            ready = [fd for fd, _ in events.poll(max(0, remaining * 1000))]
            if inotify in ready:
                os.read(inotify, 1 << 16)
            elif ready:
                launcher.check_end()
                events.unregister(launcher)
            else:
                raise BenchError(f"no {marker.decode()!r} on the console in time")
        return time.perf_counter()
