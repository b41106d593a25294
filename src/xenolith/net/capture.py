"""A copy of all frames of an interface, as a packet capture, to whoever watches at a descriptor."""

from __future__ import annotations

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

    def add(self, frame: Frame) -> bool:
        """Write a frame; False if nobody watches any more."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
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

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
