"""A copy of all frames of an interface, as a packet capture, to whoever watches at a descriptor."""

from __future__ import annotations

import contextlib
import os
import time

from xenolith.net import pcap
from xenolith.net.frame import Frame


class Capture:
    """Writes into a pipe or socket that is never waited for: what it cannot take is left out.

    A record that it takes half is completed before the next.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)
        self._rest = pcap.file_header()
        self.missed = 0
        """Frames that were left out."""
        # At once: without a frame it is a capture, too. Who has gone already is noticed later.
        with contextlib.suppress(OSError):
            self._write_rest()

    def add(self, frame: Frame) -> bool:
        """Write a frame; False if nobody watches any more."""
        try:
            self._write_rest()
            if self._rest:
                self.missed += 1
                return True
            header = pcap.record_header(len(frame.data), time.time_ns())
            sent = os.writev(self._fd, (header, frame.data))
            if sent < len(header) + len(frame.data):
                self._rest = (header + frame.data)[sent:]
        except BlockingIOError:
            self.missed += 1
        except OSError:
            return False
        return True

    def _write_rest(self) -> None:
        if self._rest:
            self._rest = self._rest[os.write(self._fd, self._rest) :]

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
