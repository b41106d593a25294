"""The guest-physical memory map of a PVH domain, as Xen's toolstack lays it out.

After libxl's domain_construct_memmap and public/hvm/e820.h: RAM from 0 up to the hole below 4 GiB,
the rest above 4 GiB; in the hole the ACPI tables and Xen's special pages.
"""

from __future__ import annotations

from dataclasses import dataclass

from xenolith.abi.hvm_start_info import MemmapType
from xenolith.builder.errors import BuildError
from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Gfn, GuestPhys

BELOW_4G_RAM_END = GuestPhys(0xF000_0000)
HIGH_RAM_START = GuestPhys(1 << 32)
ACPI_ADDRESS = GuestPhys(0xFC00_0000)

SPECIAL_PAGES_END = Gfn(0xFF000)
SPECIAL_PAGES = 8
XENSTORE_GFN = Gfn(SPECIAL_PAGES_END - 4)
CONSOLE_GFN = Gfn(SPECIAL_PAGES_END - 1)

SMALLEST_MEMORY = 32 << 20
LARGEST_MEMORY = 1 << 40


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """A page-aligned range of guest-physical memory; ``size`` is in bytes."""

    start: GuestPhys
    size: int
    type: MemmapType

    @property
    def end(self) -> GuestPhys:
        """The address behind the range."""
        return GuestPhys(self.start + self.size)


def ram_ranges(memory_size: int) -> tuple[MemoryRange, ...]:
    """Where ``memory_size`` bytes of RAM lie: one range, or two around the hole below 4 GiB."""
    low = min(memory_size, BELOW_4G_RAM_END)
    ranges = [MemoryRange(GuestPhys(0), low, MemmapType.RAM)]
    if memory_size > low:
        ranges.append(MemoryRange(HIGH_RAM_START, memory_size - low, MemmapType.RAM))
    return tuple(ranges)


def memory_map(memory_size: int, acpi_size: int) -> tuple[MemoryRange, ...]:
    """The whole map by ascending address; every range of it is to be backed by memory.

    ``memory_size`` is a multiple of the page size between 32 MiB and 1 TiB, else BuildError.
    There is no hole at 640 KiB, as there is none in Xen: Linux reserves that range by itself.
    """
    if not SMALLEST_MEMORY <= memory_size <= LARGEST_MEMORY or memory_size % PAGE_SIZE:
        raise BuildError(
            f"a PVH domain cannot have {memory_size} bytes of memory: "
            "it needs whole pages, at least 32 MiB, at most 1 TiB"
        )
    special_start = GuestPhys((SPECIAL_PAGES_END - SPECIAL_PAGES) << PAGE_SHIFT)
    low, *high = ram_ranges(memory_size)
    return (
        low,
        MemoryRange(ACPI_ADDRESS, acpi_size + -acpi_size % PAGE_SIZE, MemmapType.NVS),
        MemoryRange(special_start, SPECIAL_PAGES << PAGE_SHIFT, MemmapType.RESERVED),
        *high,
    )
