"""Changing the headers of a VHD in its place. The file must be open for writing.

Each change is one write, made when all that it refers to is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.vhd import timestamp
from xenolith.storage.vhd.create import Parent, place_locators
from xenolith.storage.vhd.footer import Footer
from xenolith.storage.vhd.header import Header
from xenolith.storage.vhd.metadata import Metadata, read_metadata


def set_parent_timestamp(file: ImageFile, stamp: int) -> None:
    """Say when the parent was modified last, or that it does not matter."""
    metadata, head = _differencing(file)
    if head.parent_timestamp != stamp:
        write_header(file, metadata.footer, replace(head, parent_timestamp=stamp))


def reparent(file: ImageFile, parent: Parent) -> None:
    """Make an image the child of another parent."""
    metadata, head = _differencing(file)
    offset = -(-file.size // SECTOR_SIZE) * SECTOR_SIZE
    locators = place_locators(file, parent.path, offset)
    # The file has to end with a footer at any time that it is opened.
    file.write(metadata.footer.pack(), max(entry.offset + entry.reserved for entry in locators))
    file.sync()
    changed = replace(
        head,
        parent_id=parent.unique_id,
        parent_timestamp=parent.timestamp,
        parent_name=os.path.basename(parent.path),
        locators=locators,
    )
    write_header(file, metadata.footer, changed)


def set_hidden(file: ImageFile, value: int) -> None:
    """Set blktap2's mark of an image that is not to be shown; children need not know."""
    footer = replace(read_metadata(file).footer, hidden=value)
    with same_modification_time(file):
        write_footer(file, footer)


def write_header(file: ImageFile, footer: Footer, header: Header) -> None:
    """Write a header and wait until it is on the disk."""
    file.write(header.pack(), footer.data_offset)
    file.sync()


def write_footer(file: ImageFile, footer: Footer) -> None:
    """Write the footer, and its copy of a sparse image, over those that are there."""
    sector = footer.pack()
    if read_metadata(file).header is not None:
        file.write(sector, 0)
        file.sync()
    file.write(sector, file.size - len(sector))
    file.sync()


@contextmanager
def same_modification_time(file: ImageFile) -> Iterator[None]:
    """Let a change of a file that does not concern its children not look like one."""
    status = os.fstat(file.fd)
    yield
    os.utime(file.fd, ns=(status.st_atime_ns, status.st_mtime_ns))


def accept_parent(child: ImageFile, parent: ImageFile) -> None:
    """Take note of a parent as it is now."""
    set_parent_timestamp(child, timestamp.modification_time(parent))


def _differencing(file: ImageFile) -> tuple[Metadata, Header]:
    metadata = read_metadata(file)
    if metadata.header is None or not metadata.is_differencing:
        raise ImageError(f"{file.name} has no parent")
    return metadata, metadata.header
