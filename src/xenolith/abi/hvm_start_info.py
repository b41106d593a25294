"""What a PVH domain finds at its entry point (public/arch-x86/hvm/start_info.h).

EBX holds the address of an HvmStartInfo; every address in it is guest-physical.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import U32, U64, Layout

HEADER = "arch-x86/hvm/start_info.h"

XEN_HVM_START_MAGIC_VALUE = 0x336EC578


@c_constants("XEN_HVM_MEMMAP_TYPE_")
class MemmapType(IntEnum):
    """Types of memory ranges, with the numbers of E820."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
    DISABLED = 6
    PMEM = 7


class HvmStartInfo(NamedTuple):
    """struct hvm_start_info, version 1."""

    magic: U32
    version: U32
    flags: U32
    nr_modules: U32
    modlist_paddr: U64
    cmdline_paddr: U64
    rsdp_paddr: U64
    memmap_paddr: U64
    memmap_entries: U32
    reserved: U32


class HvmModlistEntry(NamedTuple):
    """struct hvm_modlist_entry: one module, such as the ramdisk."""

    paddr: U64
    size: U64
    cmdline_paddr: U64
    reserved: U64


class HvmMemmapTableEntry(NamedTuple):
    """struct hvm_memmap_table_entry: one range of the memory map."""

    addr: U64
    size: U64
    type: U32
    reserved: U32


HVM_START_INFO = Layout(HvmStartInfo, "struct hvm_start_info", HEADER)
HVM_MODLIST_ENTRY = Layout(HvmModlistEntry, "struct hvm_modlist_entry", HEADER)
HVM_MEMMAP_TABLE_ENTRY = Layout(HvmMemmapTableEntry, "struct hvm_memmap_table_entry", HEADER)
