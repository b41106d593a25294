"""Emptying a differencing image, so that its disk is its parent's."""

from __future__ import annotations

import os

from xenolith.storage.file import ImageFile
from xenolith.storage.vhd.metadata import end_of_contents, read_metadata, regions


def empty(file: ImageFile) -> None:
    """Forget all blocks of a sparse image and give back their space."""
    metadata = read_metadata(file)
    head = metadata.header
    assert head is not None
    file.write(b"\xff" * (head.entries * 4), head.table_offset)
    file.sync()
    end = end_of_contents(file, regions(file, metadata), 0)
    sector = metadata.footer.pack()
    file.write(sector, end)
    os.ftruncate(file.fd, end + len(sector))
    os.fsync(file.fd)
