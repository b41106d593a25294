"""What a chain consists of: the seam between :mod:`.chain` and the kinds of files in it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from xenolith.storage.file import ImageFile


class Run(NamedTuple):
    """Consecutive bytes of a disk that are consecutive in a file, too."""

    start: int
    end: int
    """Where they are on the disk."""
    offset: int
    """Where ``start`` is in the file."""


class Layer(Protocol):
    """One file of a chain."""

    @property
    def file(self) -> ImageFile:
        """The file."""

    @property
    def size(self) -> int:
        """Length in bytes of the disk; beyond that there are zeroes."""

    def runs(self, start: int, end: int) -> list[Run]:
        """What this layer itself has of a range of the disk, in order.

        ImageError where its tables are unsound.
        """

    def has_nothing(self, start: int, end: int) -> bool:
        """Whether this layer has nothing of a range, which may be large, and will have nothing."""


class FlatLayer:
    """A raw image or a fixed VHD: it has everything, in its place."""

    def __init__(self, file: ImageFile, size: int) -> None:
        self.file = file
        self.size = size

    def runs(self, start: int, end: int) -> list[Run]:
        """All of the range that lies on the disk."""
        end = min(end, self.size)
        return [Run(start, end, start)] if start < end else []

    def has_nothing(self, start: int, end: int) -> bool:
        """Whether the range is beyond the end."""
        return start >= self.size
