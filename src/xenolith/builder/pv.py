"""Builds a PV domain: kernel, ramdisk, start info, list of frames and page tables go into guest memory.

The boot ABI is that of struct start_info in public/xen.h; libelf's and libxc's rules where it is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from xenolith.abi.xen_pv import (
    MAX_GUEST_CMDLINE,
    SIF_MOD_START_PFN,
    SIF_VIRT_P2M_4TOOLS,
    START_INFO,
    StartInfo,
)
from xenolith.builder.elf import ElfImage, read_elf
from xenolith.builder.elf_headers import EM_X86_64
from xenolith.builder.elf_notes import XenNotes, xen_notes
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.pv_hypercall_page import hypercall_page
from xenolith.builder.pv_layout import PvLayout, pv_layout
from xenolith.builder.pv_page_tables import PvPageTables
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, GuestPhys, GuestVirt

_XEN_VERSION = "xen-3.0"
_MAGIC = b"xen-3.0-x86_64"


class PseudoPhysicalMemory(Protocol):
    """The memory of a new domain as the builder sees it, all zero: one range from 0 on."""

    def write(self, address: GuestPhys, data: bytes) -> None:
        """Store ``data``."""

    def write_numbers(self, address: GuestPhys, first: int, count: int) -> None:
        """Store ``count`` consecutive numbers of 8 bytes, from ``first`` on."""

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        """Copy from a file; return how much it had."""


@dataclass(frozen=True, slots=True)
class PvPlatform:
    """What is decided about a PV domain before its kernel is looked at."""

    frames: int
    """How many frames of memory it starts with."""
    first_mfn: int
    """The machine frame behind its first one; the others follow."""
    shared_info_mfn: int
    console_port: int
    xenstore_port: int


@dataclass(frozen=True, slots=True)
class PvImage:
    """A kernel that has been read, and where it and all that belongs to it go."""

    elf: ElfImage
    notes: XenNotes
    layout: PvLayout


@dataclass(frozen=True, slots=True)
class PvStart:
    """How the first vCPU starts: RSI is ``start_info``."""

    entry: GuestVirt
    stack: GuestVirt
    start_info: GuestVirt
    root: int
    """The frame of its page table of level 4."""


def plan_pv(kernel: ImageFile, ramdisk: ImageFile | None, frames: int) -> PvImage:
    """Read a kernel's headers and lay out its domain; BuildError if it cannot be run so."""
    elf = read_elf(kernel)
    notes = xen_notes(elf)
    _check_kind(elf, notes)
    size = ramdisk.size if ramdisk is not None else None
    return PvImage(elf, notes, pv_layout(elf, notes, size, frames))


def _check_kind(elf: ElfImage, notes: XenNotes) -> None:
    """Refuse what was built for something else, as Xen's libelf does (elf_xen_note_check)."""
    name = elf.file.name
    if notes.xen_version is None and notes.guest_os is None:
        raise BuildError(
            f"{name} has no Xen ELF notes; a PV domain needs a kernel built with CONFIG_XEN_PV"
        )
    if not (notes.xen_version or "").startswith(_XEN_VERSION):
        raise BuildError(f"{name} is for another Xen: it asks for {notes.xen_version!a}")
    generic = (notes.loader or "").startswith("generic")
    if not generic and not (notes.guest_os or "").startswith("linux"):
        raise BuildError(
            f"{name} needs a loader of its own: {notes.loader!a}, for {notes.guest_os!a}"
        )
    if elf.machine != EM_X86_64:
        raise BuildError(f"{name} is a 32-bit kernel, and PV domains have 64 bits: try type='pvh'")
    if notes.virt_base is None and notes.entry is None and notes.phys32_entry is not None:
        # Left to the ELF header, Xen would enter it where other loaders do.
        raise BuildError(f"{name} does not say where a PV domain enters it: try type='pvh'")


def load_pv(
    image: PvImage,
    platform: PvPlatform,
    memory: PseudoPhysicalMemory,
    ramdisk: ImageFile | None,
    command_line: bytes,
) -> PvStart:
    """Fill a domain's memory; BuildError if the command line is too long or a file is truncated."""
    if b"\0" in command_line or len(command_line) >= MAX_GUEST_CMDLINE:
        raise BuildError(
            f"the kernel's command line has to be shorter than {MAX_GUEST_CMDLINE} bytes, none of them zero"
        )
    layout, kernel = image.layout, image.elf.file
    offset = image.notes.paddr_offset or 0
    for segment in image.elf.segments:
        address = GuestPhys(segment.address - offset)
        _load(kernel, segment.offset, segment.file_size, memory, address)
    if image.notes.hypercall_page is not None:
        page = image.notes.hypercall_page - layout.virt_base
        if page % PAGE_SIZE or not 0 <= page < layout.mapped << PAGE_SHIFT:
            raise BuildError(f"{kernel.name} is damaged: its hypercall page is nowhere")
        memory.write(GuestPhys(page), hypercall_page())
    if ramdisk is not None and layout.ramdisk is not None:
        _load(ramdisk, 0, layout.ramdisk.size, memory, _physical(layout.ramdisk.pfn))
    _write_p2m(layout, platform, memory)
    _build_page_tables(layout, platform, memory)
    record = _start_info(layout, platform, command_line)
    memory.write(_physical(layout.start_info), START_INFO.pack(record))
    return PvStart(
        entry=GuestVirt(layout.entry),
        stack=GuestVirt(layout.address(layout.stack) + PAGE_SIZE),
        start_info=GuestVirt(layout.address(layout.start_info)),
        root=layout.page_tables.pfn,
    )


def _load(
    image: ImageFile, offset: int, size: int, memory: PseudoPhysicalMemory, address: GuestPhys
) -> None:
    if size and memory.load(address, image.fd, offset, size) < size:
        raise image.truncated()


def _write_p2m(layout: PvLayout, platform: PvPlatform, memory: PseudoPhysicalMemory) -> None:
    memory.write_numbers(_physical(layout.p2m.pfn), platform.first_mfn, platform.frames)


def _physical(pfn: int) -> GuestPhys:
    return GuestPhys(pfn << PAGE_SHIFT)


def _build_page_tables(
    layout: PvLayout, platform: PvPlatform, memory: PseudoPhysicalMemory
) -> None:
    tables = PvPageTables(platform.first_mfn, lambda pfn, data: memory.write(_physical(pfn), data))
    own = layout.page_tables
    entries = tables.build(layout.virt_base, 0, layout.mapped, own.pfn + 1, range(own.pfn, own.end))
    if layout.p2m_tables is not None:
        count = layout.p2m_tables.pfn - layout.p2m.pfn
        entries += tables.build(
            layout.p2m_base, layout.p2m.pfn, count, layout.p2m_tables.pfn, range(0)
        )
    tables.build_top(own.pfn, entries)


def _start_info(layout: PvLayout, platform: PvPlatform, command_line: bytes) -> StartInfo:
    flags, module, separate = SIF_VIRT_P2M_4TOOLS, 0, layout.p2m_tables is not None
    if layout.ramdisk is not None and layout.ramdisk_is_mapped:
        module = layout.address(layout.ramdisk.pfn)
    elif layout.ramdisk is not None:
        module = layout.ramdisk.pfn
        flags |= SIF_MOD_START_PFN
    return StartInfo(
        magic=_MAGIC,
        nr_pages=platform.frames,
        shared_info=platform.shared_info_mfn << PAGE_SHIFT,
        flags=flags,
        store_mfn=platform.first_mfn + layout.xenstore,
        store_evtchn=platform.xenstore_port,
        console_mfn=platform.first_mfn + layout.console,
        console_evtchn=platform.console_port,
        pt_base=layout.address(layout.page_tables.pfn),
        nr_pt_frames=layout.page_tables.end - layout.page_tables.pfn,
        mfn_list=layout.p2m_base,
        mod_start=module,
        mod_len=layout.ramdisk.size if layout.ramdisk is not None else 0,
        cmd_line=command_line,
        first_p2m_pfn=layout.p2m.pfn if separate else 0,
        nr_p2m_frames=layout.p2m.end - layout.p2m.pfn if separate else 0,
    )
