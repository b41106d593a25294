"""Building PVH domains: what lies where in guest memory."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from xenolith.abi.elfnote import ElfNote
from xenolith.abi.hvm_start_info import (
    HVM_MEMMAP_TABLE_ENTRY,
    HVM_MODLIST_ENTRY,
    HVM_START_INFO,
    XEN_HVM_START_MAGIC_VALUE,
    HvmStartInfo,
)
from xenolith.builder.errors import BuildError
from xenolith.builder.pvh import PvhPlatform, PvhStart, load_pvh, pvh_platform

from .guest_memory import FlatMemory
from .images import Load, elf64, image_of, note, number, pvh_note

MIB = 1 << 20
ENTRY = 0x100_0850
LOADS = [Load(16 * MIB, b"text" * 1000, 4000), Load(20 * MIB, b"data", 0x2345)]
NEW_LINUX = note(ElfNote.GUEST_OS, b"linux\0") + note(ElfNote.SUPPORTED_FEATURES, number(0x8801, 4))
KERNEL = elf64(LOADS, pvh_note(ENTRY) + NEW_LINUX)


def build(
    kernel: bytes = KERNEL,
    modules: tuple[bytes, ...] = (),
    command_line: bytes = b"console=hvc0",
    memory_size: int = 64 * MIB,
) -> tuple[PvhPlatform, FlatMemory, PvhStart]:
    platform = pvh_platform(memory_size, vcpus=2, max_vcpus=2)
    memory = FlatMemory(platform.memory_map)
    with ExitStack() as stack:
        files = [
            stack.enter_context(image_of(data, f"ramdisk{index}"))
            for index, data in enumerate(modules)
        ]
        image = stack.enter_context(image_of(kernel, "vmlinux"))
        start = load_pvh(platform, memory, image, files, command_line)
    return platform, memory, start


def start_info(memory: FlatMemory, start: PvhStart) -> HvmStartInfo:
    return HVM_START_INFO.unpack(memory.read(start.start_info, HVM_START_INFO.size))


def test_segments_lie_at_their_physical_addresses() -> None:
    _, memory, start = build()
    assert start.entry == ENTRY
    assert memory.read(16 * MIB, 4001) == b"text" * 1000 + b"\0"
    assert memory.read(20 * MIB, 8) == b"data\0\0\0\0"


def test_the_start_info_describes_the_domain() -> None:
    platform, memory, start = build(command_line=b"console=hvc0 quiet")
    info = start_info(memory, start)
    assert (info.magic, info.version, info.flags) == (XEN_HVM_START_MAGIC_VALUE, 1, 0)
    assert (info.nr_modules, info.modlist_paddr) == (0, 0)
    assert memory.read(info.cmdline_paddr, 19) == b"console=hvc0 quiet\0"
    assert info.memmap_entries == len(platform.memory_map)
    for index, expected in enumerate(platform.memory_map):
        at = info.memmap_paddr + index * HVM_MEMMAP_TABLE_ENTRY.size
        entry = HVM_MEMMAP_TABLE_ENTRY.unpack(memory.read(at, HVM_MEMMAP_TABLE_ENTRY.size))
        assert entry == (expected.start, expected.size, expected.type, 0)


def test_modules_follow_the_start_info_on_pages_of_their_own() -> None:
    ramdisks = (os.urandom(10_000), b"", os.urandom(4096))
    _, memory, start = build(modules=ramdisks)
    info = start_info(memory, start)
    assert info.nr_modules == 3
    assert start.start_info == 20 * MIB + 0x3000
    previous_end = info.cmdline_paddr + 13
    for index, data in enumerate(ramdisks):
        at = info.modlist_paddr + index * HVM_MODLIST_ENTRY.size
        module = HVM_MODLIST_ENTRY.unpack(memory.read(at, HVM_MODLIST_ENTRY.size))
        assert module.size == len(data)
        assert module.paddr % 4096 == 0
        assert module.paddr >= previous_end
        assert memory.read(module.paddr, module.size) == data
        previous_end = module.paddr + module.size


def test_the_acpi_tables_are_loaded_where_the_start_info_points() -> None:
    platform, memory, start = build()
    acpi = platform.acpi
    assert memory.read(acpi.address, len(acpi.data)) == acpi.data
    assert start_info(memory, start).rsdp_paddr == acpi.rsdp_address
    assert memory.read(acpi.rsdp_address, 8) == b"RSD PTR "


@pytest.mark.parametrize(
    ("notes", "in_bios_area"),
    [
        (note(ElfNote.GUEST_OS, b"linux\0"), True),
        (NEW_LINUX, False),
        (note(ElfNote.GUEST_OS, b"FreeBSD\0"), False),
        (b"", False),
    ],
)
def test_old_linux_finds_the_rsdp_in_the_bios_area(notes: bytes, in_bios_area: bool) -> None:
    platform, memory, start = build(elf64(LOADS, pvh_note(ENTRY) + notes))
    expected = 0xF_FFC0 if in_bios_area else platform.acpi.rsdp_address
    assert start_info(memory, start).rsdp_paddr == expected
    assert memory.read(expected, 36) == platform.acpi.rsdp


def test_a_domain_of_a_tebibyte_costs_no_more_than_a_small_one() -> None:
    platform, memory, start = build(memory_size=1 << 40, modules=(b"ramdisk",))
    assert start_info(memory, start).memmap_entries == len(platform.memory_map) == 4
    assert os.fstat(memory.machine.fd).st_blocks * 512 < MIB


def test_a_ramdisk_that_just_fits_is_taken_and_one_page_more_is_refused() -> None:
    room = 64 * MIB - (20 * MIB + 0x4000)
    _, memory, start = build(modules=(bytes(room),))
    info = start_info(memory, start)
    module = HVM_MODLIST_ENTRY.unpack(memory.read(info.modlist_paddr, 32))
    assert module.paddr + module.size == 64 * MIB
    with pytest.raises(BuildError, match=r"vmlinux and ramdisk0 do not fit.*65 MiB.* 64 MiB"):
        build(modules=(bytes(room + 1),))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (elf64(LOADS, NEW_LINUX), r"vmlinux has no Xen PVH entry note \(XEN_ELFNOTE_PHYS32_ENTRY"),
        (
            elf64([Load(16 * MIB, b"", 49 * MIB)], pvh_note(ENTRY)),
            "vmlinux does not fit into memory: it has a segment at 0x1000000 of 51380224 bytes",
        ),
        (elf64([Load(0xFEE0_0000, b"x", 1)], pvh_note(ENTRY)), "does not fit into memory"),
        (elf64([Load((1 << 64) - 4096, b"x", 4096)], pvh_note(ENTRY)), "does not fit"),
        (elf64([Load(64 * MIB - 4096, b"x", 1)], pvh_note(ENTRY)), "vmlinux do not fit"),
        (b"#!/bin/sh", "vmlinux is not an ELF image"),
    ],
)
def test_a_kernel_that_cannot_be_loaded_is_refused(kernel: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        build(kernel)


def test_a_zero_byte_in_the_command_line_is_refused() -> None:
    with pytest.raises(BuildError, match="zero byte"):
        build(command_line=b"console=hvc0\0init=/bin/sh")
