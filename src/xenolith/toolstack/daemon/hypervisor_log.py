"""The hypervisor's log: the ring that `xl dmesg` prints, Xen's conring.

It is kept in a file of the run directory, so it holds the lines of earlier daemons as well, and
is cut to its last RING_BYTES now and then.
"""

from __future__ import annotations

import os
import re

RING_BYTES = 1 << 16

_LINE_BYTES = 1024
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class HypervisorLog:
    """Lines of text, the oldest of which are forgotten."""

    def __init__(self, path: str) -> None:
        """Go on with the file at ``path``; OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._text = bytearray(os.pread(self._fd, 2 * RING_BYTES, 0))

    def add(self, line: str) -> None:
        """Add a line; what cannot be printed in it shows as question marks."""
        data = _UNPRINTABLE.sub("?", line)[:_LINE_BYTES].encode() + b"\n"
        self._text += data
        try:
            os.write(self._fd, data)
            if len(self._text) > 2 * RING_BYTES:
                cut = self._text.index(b"\n", len(self._text) - RING_BYTES) + 1
                del self._text[:cut]
                os.ftruncate(self._fd, 0)
                os.write(self._fd, self._text)
        except OSError:
            # A full disk: the ring in memory is what counts.
            return

    def read(self) -> str:
        """All lines."""
        return self._text.decode("ascii", "replace")

    def clear(self) -> None:
        """Forget all lines; OSError."""
        self._text.clear()
        os.ftruncate(self._fd, 0)
