"""Run by run, where the contents of an image are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xenolith.storage.file import ImageFile
from xenolith.storage.holes import data_and_holes
from xenolith.storage.raw import RawImage
from xenolith.storage.vhd.chain import Chain

_WINDOW = 1 << 30
"""To be asked for at once."""


class Placement(NamedTuple):
    """A run of bytes of a disk."""

    start: int
    end: int
    file: ImageFile | None
    """What holds it; None for what is nowhere."""
    offset: int
    """Where ``start`` is in the file."""
    is_data: bool
    """Whether the file has something there, and not a hole."""
    depth: int
    """How far down the chain the file is; 0 for the leaf, and for what is nowhere."""


def placements(image: RawImage | Chain) -> Iterator[Placement]:
    """The runs that make up the disk, in order, each as long as it can be."""
    last: Placement | None = None
    for run in _parts(image):
        if last is not None and _continues(last, run):
            last = last._replace(end=run.end)
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last


def _parts(image: RawImage | Chain) -> Iterator[Placement]:
    depths = {file: depth for depth, file in enumerate(image.files)}
    for window in range(0, image.size, _WINDOW):
        for start, end, file, offset in image.segments(window, min(window + _WINDOW, image.size)):
            if file is None:
                yield Placement(start, end, None, 0, is_data=False, depth=0)
                continue
            shift = start - offset
            for low, high, is_data in data_and_holes(file, offset, offset + end - start):
                yield Placement(low + shift, high + shift, file, low, is_data, depths[file])


def _continues(last: Placement, run: Placement) -> bool:
    if last.file != run.file or last.is_data != run.is_data:
        return False
    return run.file is None or run.offset == last.offset + last.end - last.start
