"""Where the bytes of a chain's disk are: resolved once per block, then looked up.

However long the chain is, a request asks this map, not every file of the chain.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from threading import Lock

from xenolith.storage.segment import Segment
from xenolith.storage.vhd.layer import Layer

_MOST_SEGMENTS = 1 << 18
"""Extents to remember, some 40 MB; a guest can write a disk into ever smaller ones."""

_WINDOW_SHIFT = 30
"""A window is larger than any block."""


class BlockMap:
    """The segments of each block of a chain of layers. It may be used by several threads."""

    def __init__(self, layers: Sequence[Layer], block_size: int) -> None:
        self._layers = layers
        self._block_size = block_size
        self._blocks: dict[int, tuple[Segment, ...]] = {}
        self._windows: dict[int, Sequence[Layer]] = {}
        self._segments = 0
        self._lock = Lock()

    def segments(self, start: int, end: int) -> list[Segment]:
        """The segments that make up a range, in order."""
        block = start // self._block_size
        if end <= (block + 1) * self._block_size:
            # Most requests: within one block, which is all in one file, or nowhere.
            segments = self._blocks.get(block) or self._resolve(block)
            if len(segments) == 1:
                (whole,) = segments
                offset = whole.offset + start - whole.start if whole.file else 0
                return [Segment(start, end, whole.file, offset)]
        found: list[Segment] = []
        for block in range(start // self._block_size, (end - 1) // self._block_size + 1):
            segments = self._blocks.get(block) or self._resolve(block)
            at = 0
            if len(segments) > 1 and segments[0].end <= start:
                at = bisect_right(segments, start, key=_start_of) - 1
            for segment in segments[at:]:
                if segment.start >= end:
                    break
                found.append(segment)
        if found[0].start < start:
            found[0] = _from(found[0], start)
        if found[-1].end > end:
            found[-1] = found[-1]._replace(end=end)
        return found

    def scan(self, start: int, end: int) -> Iterator[Segment]:
        """The segments that make up a large range, in order, without remembering them."""
        while start < end:
            window = start >> _WINDOW_SHIFT
            stop = min(end, (window + 1) << _WINDOW_SHIFT)
            with self._lock:
                found = resolve(self._layers_of(window), start, stop)
            yield from found
            start = stop

    def is_known(self, start: int, end: int) -> bool:
        """Whether no file has to be read to tell the segments of a range."""
        blocks = range(start // self._block_size, (end - 1) // self._block_size + 1)
        return all(block in self._blocks for block in blocks)

    def forget(self, block: int) -> None:
        """Resolve a block anew when it is next asked for: its layers have changed."""
        with self._lock:
            segments = self._blocks.pop(block, ())
            self._segments -= len(segments)

    def _resolve(self, block: int) -> tuple[Segment, ...]:
        with self._lock:
            start = block * self._block_size
            layers = self._layers_of(start >> _WINDOW_SHIFT)
            segments = tuple(resolve(layers, start, start + self._block_size))
            self._segments += len(segments) - len(self._blocks.get(block, ()))
            if self._segments > _MOST_SEGMENTS:
                self._blocks.clear()
                self._segments = len(segments)
            self._blocks[block] = segments
            return segments

    def _layers_of(self, window: int) -> Sequence[Layer]:
        """The layers that have something in a window: of a long chain, mostly few."""
        layers = self._windows.get(window)
        if layers is None:
            start, end = window << _WINDOW_SHIFT, (window + 1) << _WINDOW_SHIFT
            layers = [layer for layer in self._layers if not layer.has_nothing(start, end)]
            self._windows[window] = layers
        return layers


def resolve(layers: Sequence[Layer], start: int, end: int) -> list[Segment]:
    """The segments of a range: each byte from the first layer that has it, else zero."""
    found: list[Segment] = []
    gaps = [(start, end)]
    for layer in layers:
        below: list[tuple[int, int]] = []
        for gap in gaps:
            runs = layer.runs(*gap)
            if not runs:
                below.append(gap)
                continue
            found += [Segment(run.start, run.end, layer.file, run.offset) for run in runs]
            below += _between(runs, *gap)
        gaps = below
        if not gaps:
            break
    found += [Segment(*gap, None, 0) for gap in gaps]
    found.sort(key=_start_of)
    return found


def _between(
    runs: Sequence[tuple[int, int, int]], start: int, end: int
) -> Iterator[tuple[int, int]]:
    """The parts of a range that no run covers."""
    for low, high, _ in runs:
        if start < low:
            yield start, low
        start = high
    if start < end:
        yield start, end


def _start_of(segment: Segment) -> int:
    return segment.start


def _from(segment: Segment, start: int) -> Segment:
    offset = segment.offset + start - segment.start if segment.file else 0
    return Segment(start, segment.end, segment.file, offset)
