"""Cylinders, heads and sectors of a disk, by the algorithm in the VHD specification's appendix.

Virtual PC takes a disk's size from its geometry, which is rounded down and ends at 127 GiB.
"""

from __future__ import annotations

from typing import NamedTuple

from xenolith.storage.image import SECTOR_SIZE


class Geometry(NamedTuple):
    """A geometry; its product is the number of sectors that it reaches."""

    cylinders: int
    heads: int
    sectors: int

    @property
    def size(self) -> int:
        """Bytes that the geometry reaches."""
        return self.cylinders * self.heads * self.sectors * SECTOR_SIZE


LARGEST = Geometry(65535, 16, 255)


def geometry_of(size: int) -> Geometry:
    """The geometry for a disk of ``size`` bytes; it reaches at most that far."""
    sectors = min(size // SECTOR_SIZE, LARGEST.size // SECTOR_SIZE)
    if sectors >= 65535 * 16 * 63:
        return Geometry(sectors // 255 // 16, 16, 255)
    per_track = 17
    tracks = sectors // per_track
    heads = max(4, (tracks + 1023) // 1024)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = sectors // per_track
    if tracks >= heads * 1024:
        per_track, heads = 63, 16
        tracks = sectors // per_track
    return Geometry(tracks // heads, heads, per_track)
