"""Checking a VHD: what is wrong in one file of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.image import SECTOR_SIZE
from xenolith.storage.progress import Progress, silent
from xenolith.storage.vhd import batmap, footer
from xenolith.storage.vhd.allocation_table import AllocationTable
from xenolith.storage.vhd.header import Header
from xenolith.storage.vhd.metadata import Metadata, end_of_contents, read_metadata, regions
from xenolith.storage.vhd.sparse_layer import SparseLayer

_MOST_NAMED = 20
"""Blocks that are reported one by one; of more, only the number is."""


class Problem(StrEnum):
    """What can be wrong; all but UNREADABLE can be repaired."""

    UNREADABLE = "unreadable"
    """Footer, header or table are lost, or make no sense: nobody can read the image."""
    NO_FOOTER = "no-footer"
    """The file does not end with a sound footer, but begins with one."""
    NO_COPY = "no-footer-copy"
    """The file does not begin with the footer's copy, or with another footer."""
    OUTSIDE = "block-outside"
    """The table has a block where the file has ended: the data is lost."""
    IN_HEADERS = "block-in-headers"
    """The table has a block where headers are: the data is lost."""
    OVERLAP = "block-overlaps"
    """Two blocks share bytes of the file: the data of one of them is lost."""
    BATMAP = "batmap"
    """blktap2's batmap has a block full that is not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong."""

    problem: Problem
    text: str
    block: int | None = None


@dataclass(slots=True)
class Report:
    """The outcome of a check."""

    findings: list[Finding] = field(default_factory=list)
    allocated: int = 0
    """Blocks that have a place."""
    unused: int = 0
    """Bytes at the end of the file that nothing refers to: what a crash left, no damage."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def blocks(self, problem: Problem) -> list[int]:
        """The blocks that have a problem."""
        return [
            finding.block
            for finding in self.findings
            if finding.problem is problem and finding.block is not None
        ]

    def lines(self) -> Iterator[str]:
        """What is wrong, without endless repetitions."""
        for problem in Problem:
            texts = [finding.text for finding in self.findings if finding.problem is problem]
            yield from texts[:_MOST_NAMED]
            if len(texts) > _MOST_NAMED:
                yield f"{len(texts) - _MOST_NAMED} more of this kind"


def check(file: ImageFile, progress: Progress = silent) -> Report:
    """Check a file by itself, without its parents; it is not changed."""
    report = Report()
    try:
        metadata = read_metadata(file)
    except ImageError as error:
        report.findings.append(Finding(Problem.UNREADABLE, str(error)))
        return report
    report.findings += _footers(file, metadata)
    if metadata.header is not None:
        _check_blocks(file, metadata, metadata.header, report, progress)
    return report


def _footers(file: ImageFile, metadata: Metadata) -> Iterator[Finding]:
    if not metadata.at_end:
        yield Finding(Problem.NO_FOOTER, "the footer at the end is missing")
    if metadata.header is None:
        return
    try:
        if footer.parse(file.read(0, footer.SIZE)) == metadata.footer:
            return
        reason = "differs from the footer at the end"
    except ValueError as error:
        reason = f"is damaged: {error}"
    yield Finding(Problem.NO_COPY, f"the copy of the footer at the beginning {reason}")


def _check_blocks(
    file: ImageFile, metadata: Metadata, head: Header, report: Report, progress: Progress
) -> None:
    table = AllocationTable(file, head.table_offset, head.entries)
    length = head.bitmap_size + head.block_size
    claimed = regions(file, metadata)
    end, limit = 0, file.size
    layer = SparseLayer(file, metadata)
    full = batmap.read(file, metadata.footer, head)
    in_order = sorted((sector, block) for block, sector in table.allocated())
    report.allocated = len(in_order)
    previous = -1
    for count, (sector, block) in enumerate(in_order):
        if not count % 1024:
            progress(count, len(in_order))
        start = sector * SECTOR_SIZE
        if start + length > limit:
            text = f"block {block} lies outside the file, at {start}"
            report.findings.append(Finding(Problem.OUTSIDE, text, block))
            continue
        if any(start < high and low < start + length for low, high in claimed):
            text = f"block {block} lies in the headers, at {start}"
            report.findings.append(Finding(Problem.IN_HEADERS, text, block))
            continue
        if start < end:
            text = f"block {block} overlaps block {previous}, at {start}"
            report.findings.append(Finding(Problem.OVERLAP, text, block))
        if start + length > end:
            end, previous = start + length, block
        if batmap.has_full(full, block) and layer.stored_bitmap(sector) != layer.full:
            text = f"the batmap has block {block} full, which it is not"
            report.findings.append(Finding(Problem.BATMAP, text, block))
    progress(len(in_order), len(in_order))
    tail = footer.SIZE if metadata.at_end else 0
    # Up to a page is left between blocks to align them.
    report.unused = max(0, limit - tail - end_of_contents(file, claimed, end))
