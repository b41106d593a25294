"""VHD's clock: seconds since the year 2000 began, UTC, in 32 bits."""

from __future__ import annotations

import os
import stat
import time

from xenolith.storage.file import ImageFile

_EPOCH = 946_684_800
_LARGEST = 0xFFFFFFFF

UNKNOWN = 0
"""Equal to any time."""


def now() -> int:
    """The present."""
    return _clamp(int(time.time()))


def modification_time(file: ImageFile) -> int:
    """When a file was modified last; UNKNOWN for a device, whose node has another time."""
    status = os.fstat(file.fd)
    if stat.S_ISBLK(status.st_mode):
        return UNKNOWN
    return max(1, _clamp(status.st_mtime_ns // 1_000_000_000))


def to_unix(timestamp: int) -> int:
    """The same as seconds since 1970."""
    return timestamp + _EPOCH


def _clamp(unix: int) -> int:
    return min(max(unix - _EPOCH, 0), _LARGEST)
