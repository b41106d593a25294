"""Repairing a VHD as far as it can be, and saying what is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.progress import Progress, silent
from xenolith.storage.vhd import batmap, bitmap, footer
from xenolith.storage.vhd.allocation_table import UNUSED, AllocationTable
from xenolith.storage.vhd.check import Problem, Report, check
from xenolith.storage.vhd.metadata import Metadata, end_of_contents, read_metadata, regions
from xenolith.storage.vhd.writable_layer import WritableLayer


def repair(file: ImageFile, progress: Progress = silent) -> list[str]:
    """Repair a file that is open and locked for writing; return what was done.

    A block whose data is lost is given up: it then reads as zeroes, or as the parent. ImageError
    where nothing can be done.
    """
    report = check(file, progress)
    for finding in report.findings:
        if finding.problem is Problem.UNREADABLE:
            raise ImageError(f"{file.name} cannot be repaired: {finding.text}")
    return list(_repair(file, read_metadata(file), report))


def _repair(file: ImageFile, metadata: Metadata, report: Report) -> Iterator[str]:
    lost = report.blocks(Problem.OUTSIDE) + report.blocks(Problem.IN_HEADERS)
    if lost:
        _give_up(file, metadata, lost)
        yield f"gave up {len(lost)} blocks, whose data is lost: {_numbers(lost)}"
    if report.blocks(Problem.BATMAP) and metadata.header is not None:
        file.write(batmap.empty(metadata.header), batmap.offset_of(metadata.header))
        file.sync()
        yield "emptied the batmap"
    if metadata.header is not None and _restore_end(file, metadata):
        yield "put the footer where the contents end"
    if any(finding.problem is Problem.NO_COPY for finding in report.findings):
        file.write(metadata.footer.pack(), 0)
        file.sync()
        yield "restored the copy of the footer at the beginning"
    shared = report.blocks(Problem.OVERLAP)
    if shared:
        _part(file, shared)
        yield f"gave {len(shared)} blocks a place of their own: {_numbers(shared)}"


def _give_up(file: ImageFile, metadata: Metadata, blocks: list[int]) -> None:
    head = metadata.header
    assert head is not None
    table = AllocationTable(file, head.table_offset, head.entries)
    for block in blocks:
        table[block] = UNUSED
    table.store(blocks)
    file.sync()


def _restore_end(file: ImageFile, metadata: Metadata) -> bool:
    """Let the file end with the footer, after the last block; return whether it did not."""
    head = metadata.header
    assert head is not None
    table = AllocationTable(file, head.table_offset, head.entries)
    length = head.bitmap_size + head.block_size
    last = max((sector * SECTOR_SIZE + length for _, sector in table.allocated()), default=0)
    end = end_of_contents(file, regions(file, metadata), last)
    if metadata.at_end and file.size == end + footer.SIZE:
        return False
    file.write(metadata.footer.pack(), end)
    file.sync()
    os.ftruncate(file.fd, end + footer.SIZE)
    os.fsync(file.fd)
    return True


def _part(file: ImageFile, blocks: list[int]) -> None:
    """Copy blocks that overlap others to places of their own."""
    layer = WritableLayer(file, read_metadata(file))
    for block in blocks:
        sector = layer.table[block]
        old, sectors = layer.data_offset(block, sector), layer.stored_bitmap(sector)
        layer.table[block] = UNUSED
        new = layer.allocate(block)
        for first, end in bitmap.runs(sectors):
            data = file.read(old + first * SECTOR_SIZE, (end - first) * SECTOR_SIZE)
            file.write(data, new + first * SECTOR_SIZE)
            layer.mark(block, first, end)
        # Before the table can refer to it: else a crash would lose what was there before.
        file.write(bitmap.pack(sectors, layer.bitmap_size), new - layer.bitmap_size)
    layer.flush()


def _numbers(blocks: list[int]) -> str:
    shown = ", ".join(map(str, sorted(blocks)[:10]))
    return f"{shown}, ..." if len(blocks) > 10 else shown
