"""Changing the size of a VHD's disk in its file, which nobody else may have open.

At any moment the file can be opened, with the old size or the new one.
"""

from __future__ import annotations

import os
from dataclasses import replace

from xenolith.storage import fallocate
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import batmap, footer
from xenolith.storage.vhd.allocation_table import UNUSED
from xenolith.storage.vhd.footer import Footer, check_size
from xenolith.storage.vhd.header import Header
from xenolith.storage.vhd.metadata import Metadata, read_metadata
from xenolith.storage.vhd.rewrite import write_footer, write_header
from xenolith.storage.vhd.writable_layer import WritableLayer


def resize(file: ImageFile, size: int) -> None:
    """Give the disk another length in bytes; what it gains reads as zeroes, or as the parent.

    ImageError if that cannot be: no differencing image is made smaller, as that would bring its
    parent's data to light if it were made larger again.
    """
    check_size(size)
    metadata = read_metadata(file)
    foot = metadata.footer.resized(size)
    if metadata.header is None:
        _resize_fixed(file, metadata.size, foot)
    elif size > metadata.size:
        _grow_sparse(file, metadata, foot)
    elif size < metadata.size:
        if metadata.is_differencing:
            raise ImageError(f"{file.name} has a parent, and can only be made larger")
        _shrink_dynamic(file, metadata, foot)


def _resize_fixed(file: ImageFile, old: int, foot: Footer) -> None:
    size = foot.current_size
    if size == old:
        return
    file.write(foot.pack(), size)
    file.sync()
    if size < old:
        os.ftruncate(file.fd, size + footer.SIZE)
        os.fsync(file.fd)
    else:
        # The old footer has become part of the disk.
        fallocate.make_zero(file, old, footer.SIZE)


def _grow_sparse(file: ImageFile, metadata: Metadata, foot: Footer) -> None:
    head = metadata.header
    assert head is not None
    entries = -(-foot.current_size // head.block_size)
    if entries > head.entries:
        table = file.read(head.table_offset, head.entries * 4)
        offset = -(-file.size // SECTOR_SIZE) * SECTOR_SIZE
        grown = replace(head, table_offset=offset, entries=entries)
        _move_table(file, metadata, grown, table)
    write_footer(file, foot)


def _move_table(file: ImageFile, metadata: Metadata, head: Header, table: bytes) -> None:
    """Put a larger table behind all that there is, then let the header point to it."""
    contents = table.ljust(head.table_size, b"\xff") + batmap.empty(head)
    file.write(contents, head.table_offset)
    file.write(metadata.footer.pack(), head.table_offset + len(contents))
    file.sync()
    write_header(file, metadata.footer, head)


def _shrink_dynamic(file: ImageFile, metadata: Metadata, foot: Footer) -> None:
    layer = WritableLayer(file, metadata)
    size, block_size = foot.current_size, layer.block_size
    write_footer(file, foot)
    # What is beyond the end must be zero if the disk is made larger again.
    last, within = divmod(size, block_size)
    place = layer.place_of(last) if within else None
    if place is not None:
        layer.punch(place + within, block_size - within)
    gone = {block for block, _ in layer.table.allocated() if block * block_size >= size}
    places = [layer.place_of(block) for block in gone]
    for block in gone:
        layer.table[block] = UNUSED
    layer.table.store(gone)
    file.sync()
    for place in places:
        if place is not None:
            fallocate.punch_hole(file, place, block_size)
