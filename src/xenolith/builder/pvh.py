"""Builds a PVH domain: kernel, ramdisks, start info and ACPI tables go into guest memory.

The boot ABI is that of docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xenolith.abi.features import Feature
from xenolith.builder.acpi.build import AcpiTables, build_acpi_tables
from xenolith.builder.elf import ElfImage, read_elf
from xenolith.builder.elf_notes import XenNotes, xen_notes
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.memory_map import (
    ACPI_ADDRESS,
    CONSOLE_GFN,
    XENSTORE_GFN,
    MemoryRange,
    memory_map,
)
from xenolith.builder.start_info import Placement, start_info_block, start_info_size
from xenolith.machine.address import PAGE_SIZE, Gfn, GuestPhys

_LEGACY_RSDP_ADDRESS = GuestPhys(0x10_0000 - 64)


class PhysicalMemory(Protocol):
    """The guest-physical memory of a new domain, all zero, as the builder sees it."""

    def write(self, address: GuestPhys, data: bytes) -> None:
        """Store ``data``."""

    def load(self, address: GuestPhys, fd: int, offset: int, size: int) -> int:
        """Copy from a file to where all lies in one range of the memory map; return how much it had."""


@dataclass(frozen=True, slots=True)
class PvhPlatform:
    """What is in a PVH domain before its kernel: the memory map and the ACPI tables.

    Every range of the map must be backed by memory when :func:`load_pvh` is called.
    """

    memory_map: tuple[MemoryRange, ...]
    acpi: AcpiTables
    console_gfn: Gfn = CONSOLE_GFN
    xenstore_gfn: Gfn = XENSTORE_GFN


@dataclass(frozen=True, slots=True)
class PvhStart:
    """How the first vCPU starts: EIP is ``entry``, EBX is ``start_info``; paging is off."""

    entry: GuestPhys
    start_info: GuestPhys


def pvh_platform(memory_size: int, vcpus: int, max_vcpus: int) -> PvhPlatform:
    """Describe a domain of ``memory_size`` bytes with ``vcpus`` of ``max_vcpus`` online."""
    acpi = build_acpi_tables(ACPI_ADDRESS, vcpus, max_vcpus)
    return PvhPlatform(memory_map(memory_size, len(acpi.data)), acpi)


def load_pvh(
    platform: PvhPlatform,
    memory: PhysicalMemory,
    kernel: ImageFile,
    modules: Sequence[ImageFile],
    command_line: bytes,
) -> PvhStart:
    """Load a kernel in ELF and its modules (the ramdisk first), and write the start info.

    BuildError if the kernel is unsound or has no PVH entry, or if it does not all fit.
    """
    if b"\0" in command_line:
        raise BuildError("the kernel's command line holds a zero byte")
    elf = read_elf(kernel)
    notes = xen_notes(elf)
    if notes.phys32_entry is None:
        raise BuildError(
            f"{kernel.name} has no Xen PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY); "
            "a PVH domain needs a kernel built with CONFIG_PVH"
        )
    ram = platform.memory_map[0]
    _check_segments(elf, ram)

    # The start info goes before the modules, because Linux reads it through early page tables
    # that map no more than the first GiB, and a ramdisk may be larger.
    start_info = _page_up(elf.segments[-1].end)
    block_size = start_info_size(len(modules), len(platform.memory_map), command_line)
    placements = _place(modules, _page_up(start_info + block_size))
    end = placements[-1][0] + placements[-1][1] if placements else start_info + block_size
    if end > ram.end:
        names = " and ".join(image.name for image in (kernel, *modules))
        raise BuildError(
            f"{names} do not fit into memory: they reach up to {_mib(end)} MiB, and the domain's "
            f"memory below 4 GiB ends at {_mib(ram.end)} MiB"
        )

    for segment in elf.segments:
        if segment.file_size:
            _load(kernel, segment.offset, segment.file_size, memory, GuestPhys(segment.address))
    for module, (address, size) in zip(modules, placements, strict=True):
        if size:
            _load(module, 0, size, memory, address)
    rsdp = _load_acpi(platform.acpi, notes, memory)
    block = start_info_block(start_info, rsdp, placements, platform.memory_map, command_line)
    memory.write(start_info, block)
    return PvhStart(GuestPhys(notes.phys32_entry), start_info)


def _load(
    image: ImageFile, offset: int, size: int, memory: PhysicalMemory, address: GuestPhys
) -> None:
    if memory.load(address, image.fd, offset, size) < size:
        raise image.truncated()


def _check_segments(elf: ElfImage, ram: MemoryRange) -> None:
    for segment in elf.segments:
        if segment.end > ram.end:
            raise BuildError(
                f"{elf.file.name} does not fit into memory: it has a segment at "
                f"{segment.address:#x} of {segment.memory_size} bytes, and the domain's memory "
                f"below 4 GiB ends at {_mib(ram.end)} MiB"
            )


def _place(modules: Sequence[ImageFile], start: GuestPhys) -> list[Placement]:
    """Give each module whole pages of its own, one after the other, as libxl does."""
    placements = []
    for module in modules:
        placements.append((start, module.size))
        start = _page_up(start + module.size)
    return placements


def _load_acpi(acpi: AcpiTables, notes: XenNotes, memory: PhysicalMemory) -> GuestPhys:
    """Write the ACPI tables and return where the kernel is to find the root pointer.

    Linux before 4.20 ignores the address in the start info and searches the BIOS area.
    """
    memory.write(acpi.address, acpi.data)
    features = notes.supported_features or 0
    if notes.guest_os != "linux" or features >> Feature.linux_rsdp_unrestricted & 1:
        return acpi.rsdp_address
    memory.write(_LEGACY_RSDP_ADDRESS, acpi.rsdp)
    return _LEGACY_RSDP_ADDRESS


def _page_up(address: int) -> GuestPhys:
    return GuestPhys(address + -address % PAGE_SIZE)


def _mib(size: int) -> int:
    """Size in MiB, rounded up."""
    return -(-size >> 20)
