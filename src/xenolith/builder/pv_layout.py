"""Where everything goes in the address space that a PV kernel finds itself in.

The order is that of xc_dom_build_image in Xen's tools/libs/guest/xg_dom_core.c: from the kernel's virtual base on
the kernel, the ramdisk, the list of frames, start info, rings, page tables and a stack. What the kernel can find
by frame numbers lies behind all that is mapped.
"""

from __future__ import annotations

from dataclasses import dataclass

from xenolith.builder.elf import ElfImage
from xenolith.builder.elf_notes import XenNotes
from xenolith.builder.errors import BuildError
from xenolith.builder.pv_page_tables import table_count
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE

_SPARE = 512 << 10
"""What has to be mapped behind the last thing, at least."""

_ROUNDED_TO = 4 << 20
_FRAME_NUMBER_BYTES = 8
_MASK64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Placement:
    """Whole pages from a pseudo-physical frame on, for something of ``size`` bytes."""

    pfn: int
    size: int

    @property
    def end(self) -> int:
        """The frame behind it."""
        return self.pfn + pages(self.size)


@dataclass(frozen=True, slots=True)
class PvLayout:
    """Pseudo-physical frames by what is in them."""

    virt_base: int
    """The virtual address of frame 0."""
    entry: int
    ramdisk: Placement | None
    ramdisk_is_mapped: bool
    p2m: Placement
    """The list of machine frames, and its page tables if it has some of its own."""
    p2m_base: int
    """The list's virtual address."""
    p2m_tables: Placement | None
    """Page tables of levels 3 to 1 of the list alone, where it is not mapped with everything else."""
    start_info: int
    xenstore: int
    console: int
    page_tables: Placement
    """Level 4 first."""
    stack: int
    mapped: int
    """How many frames, from 0 on, are mapped from ``virt_base`` on."""

    def address(self, pfn: int) -> int:
        """The virtual address of a frame that is mapped."""
        return self.virt_base + (pfn << PAGE_SHIFT) & _MASK64


def pages(size: int) -> int:
    """How many pages ``size`` bytes take."""
    return -(-size // PAGE_SIZE)


def pv_layout(elf: ElfImage, notes: XenNotes, ramdisk_size: int | None, frames: int) -> PvLayout:
    """Lay out a domain of ``frames`` frames; BuildError if it does not all fit."""
    virt_base, offset = notes.virt_base or 0, notes.paddr_offset or 0
    if elf.segments[0].address < offset:
        raise BuildError(f"{elf.file.name} is damaged: it has a segment below its own base")
    if virt_base % PAGE_SIZE:
        raise BuildError(f"{elf.file.name} is damaged: its virtual base is {virt_base:#x}")
    at = pages(elf.segments[-1].end - offset)
    ramdisk_is_mapped = not notes.mod_start_pfn
    ramdisk = None
    if ramdisk_size is not None and ramdisk_is_mapped:
        ramdisk = Placement(at, ramdisk_size)
        at = ramdisk.end
    p2m_base = notes.init_p2m
    if p2m_base is not None and (p2m_base % PAGE_SIZE or p2m_base >= virt_base):
        # As in Xen: a list that would be in the way of the kernel is mapped behind it instead.
        p2m_base = None
    list_size = frames * _FRAME_NUMBER_BYTES
    p2m, p2m_tables = Placement(at, list_size), None
    if p2m_base is None:
        p2m_base = virt_base + (at << PAGE_SHIFT) & _MASK64
        at = p2m.end
        separate = False
    else:
        separate = True
    start_info, xenstore, console, tables = at, at + 1, at + 2, at + 3
    count, mapped = _mapped_pages(virt_base, tables)
    at = mapped
    if ramdisk_size is not None and ramdisk is None:
        ramdisk = Placement(at, ramdisk_size)
        at = ramdisk.end
    if separate:
        own = table_count(p2m_base, p2m_base + list_size) - 1
        p2m_tables = Placement(at + pages(list_size), own * PAGE_SIZE)
        p2m = Placement(at, pages(list_size) * PAGE_SIZE + p2m_tables.size)
        at = p2m.end
    if at > frames:
        raise BuildError(
            f"{elf.file.name} and its ramdisk do not fit into memory: they need "
            f"{at * PAGE_SIZE >> 20} MiB, and the domain has {frames * PAGE_SIZE >> 20} MiB"
        )
    return PvLayout(
        virt_base=virt_base,
        entry=notes.entry if notes.entry is not None else elf.entry,
        ramdisk=ramdisk,
        ramdisk_is_mapped=ramdisk_is_mapped,
        p2m=p2m,
        p2m_base=p2m_base,
        p2m_tables=p2m_tables,
        start_info=start_info,
        xenstore=xenstore,
        console=console,
        page_tables=Placement(tables, count * PAGE_SIZE),
        stack=tables + count,
        mapped=mapped,
    )


def _mapped_pages(virt_base: int, tables: int) -> tuple[int, int]:
    """How many page tables there are from frame ``tables`` on, and how many frames they map, they included."""
    count = 0
    while True:
        end = virt_base + (tables + count + 1 << PAGE_SHIFT) + _SPARE
        end += -end % _ROUNDED_TO
        needed = table_count(virt_base, end)
        if needed <= count:
            return count, end - virt_base >> PAGE_SHIFT
        count = needed
