"""Where the bytes of a disk are."""

from __future__ import annotations

from typing import NamedTuple

from xenolith.storage.file import ImageFile


class Segment(NamedTuple):
    """Bytes of the disk that are consecutive in one file, or zeroes."""

    start: int
    end: int
    """Where they are on the disk."""
    file: ImageFile | None
    """None for zeroes."""
    offset: int
    """Where ``start`` is in the file."""
