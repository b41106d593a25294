"""Encodes the start info of a PVH domain as one block of bytes.

The block holds struct hvm_start_info of public/arch-x86/hvm/start_info.h, behind it the module
list, the memory map and the command line that it points to.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenolith.abi.hvm_start_info import (
    HVM_MEMMAP_TABLE_ENTRY,
    HVM_MODLIST_ENTRY,
    HVM_START_INFO,
    XEN_HVM_START_MAGIC_VALUE,
    HvmMemmapTableEntry,
    HvmModlistEntry,
    HvmStartInfo,
)
from xenolith.builder.memory_map import MemoryRange
from xenolith.machine.address import GuestPhys

_VERSION = 1
"""The version that brought the memory map."""

Placement = tuple[GuestPhys, int]
"""Where a module lies, and its size in bytes."""


def start_info_size(modules: int, ranges: int, command_line: bytes) -> int:
    """Size in bytes of the block for so many modules and ranges of the memory map."""
    return (
        HVM_START_INFO.size
        + modules * HVM_MODLIST_ENTRY.size
        + ranges * HVM_MEMMAP_TABLE_ENTRY.size
        + len(command_line)
        + 1
    )


def start_info_block(
    address: GuestPhys,
    rsdp: GuestPhys,
    modules: Sequence[Placement],
    memory_map: Sequence[MemoryRange],
    command_line: bytes,
) -> bytes:
    """Encode the block to be stored at ``address``; the start info is its first part."""
    modlist = address + HVM_START_INFO.size
    memmap = modlist + len(modules) * HVM_MODLIST_ENTRY.size
    cmdline = memmap + len(memory_map) * HVM_MEMMAP_TABLE_ENTRY.size
    parts = [
        HVM_START_INFO.pack(
            HvmStartInfo(
                magic=XEN_HVM_START_MAGIC_VALUE,
                version=_VERSION,
                flags=0,
                nr_modules=len(modules),
                modlist_paddr=modlist if modules else 0,
                cmdline_paddr=cmdline,
                rsdp_paddr=rsdp,
                memmap_paddr=memmap,
                memmap_entries=len(memory_map),
                reserved=0,
            )
        )
    ]
    parts += [HVM_MODLIST_ENTRY.pack(HvmModlistEntry(at, size, 0, 0)) for at, size in modules]
    parts += [
        HVM_MEMMAP_TABLE_ENTRY.pack(HvmMemmapTableEntry(range_.start, range_.size, range_.type, 0))
        for range_ in memory_map
    ]
    return b"".join([*parts, command_line, b"\0"])
