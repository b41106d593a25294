"""Copying what one layer of a chain has into the image below it."""

from __future__ import annotations

from collections.abc import Iterable

from xenolith.storage.image import Image
from xenolith.storage.progress import Progress
from xenolith.storage.vhd.sparse_layer import SparseLayer

_LARGEST_COPY = 4 << 20


def copy_blocks(
    layer: SparseLayer, blocks: Iterable[int], target: Image, progress: Progress
) -> None:
    """Copy the sectors that a layer has in these blocks; ``target`` is at least as large."""
    blocks = list(blocks)
    buffer = memoryview(bytearray(min(layer.block_size, _LARGEST_COPY)))
    for count, block in enumerate(blocks):
        progress(count * layer.block_size, len(blocks) * layer.block_size)
        start = block * layer.block_size
        for run in layer.runs(start, start + layer.block_size):
            for low in range(run.start, run.end, len(buffer)):
                part = buffer[: min(len(buffer), run.end - low)]
                layer.file.readv([part], run.offset + low - run.start)
                target.writev([part], low)
    progress(len(blocks) * layer.block_size, len(blocks) * layer.block_size)
