"""Standard error of a domain's process, which goes to the domain's log.

A process that fails must be able to say so; where the disk does not take what it says (it is
full), the words are lost, and not the domain's answer, nor its orderly end.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@final
class _Lossy(io.FileIO):
    """A file that takes everything, and keeps what it can."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write; return the whole length, whatever became of it."""
        with contextlib.suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes


def keep_in(log: int) -> None:
    """Send standard error to an open file from now on."""
    os.dup2(log, 2)
    raw = _Lossy(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
