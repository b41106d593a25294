"""VHD's clock: seconds since the year 2000 began, UTC, in 32 bits."""

from __future__ import annotations

import os
import time

from xenolith.storage.file import ImageFile

_EPOCH = 946_684_800
_LARGEST = 0xFFFFFFFF


def now() -> int:
    """The present."""
    return _clamp(int(time.time()))


def modification_time(file: ImageFile) -> int:
    """When a file was modified last; never 0, which is kept for "unknown"."""
    return max(1, _clamp(os.fstat(file.fd).st_mtime_ns // 1_000_000_000))


def to_unix(timestamp: int) -> int:
    """The same as seconds since 1970."""
    return timestamp + _EPOCH


def _clamp(unix: int) -> int:
    return min(max(unix - _EPOCH, 0), _LARGEST)
