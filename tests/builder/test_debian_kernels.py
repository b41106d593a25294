"""Debian's real kernels, where ``python -m xenolith.cli.assets`` has fetched them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenolith.abi.hvm_start_info import HVM_MODLIST_ENTRY, HVM_START_INFO
from xenolith.builder.assets import FLAVOURS
from xenolith.builder.cache_directory import cache_directory
from xenolith.builder.elf import ElfImage, read_elf
from xenolith.builder.elf_notes import xen_notes
from xenolith.builder.image_file import ImageFile
from xenolith.builder.packed_kernel import find_payload, unpack_kernel
from xenolith.builder.pvh import load_pvh, pvh_platform

from .archive import read_archive
from .guest_memory import FlatMemory


@pytest.fixture(scope="module", params=sorted(FLAVOURS))
def guest(request: pytest.FixtureRequest) -> Path:
    directory = cache_directory() / "guest" / str(request.param)
    if not (directory / "initramfs").exists():
        pytest.skip(f"no {request.param} guest: run python -m xenolith.cli.assets")
    return directory


@pytest.fixture(scope="module")
def vmlinuz(guest: Path) -> Iterator[ImageFile]:
    with (guest / "vmlinuz").open("rb") as file:
        yield ImageFile(file.fileno(), "vmlinuz")


@pytest.fixture(scope="module")
def vmlinux(vmlinuz: ImageFile) -> Iterator[ElfImage]:
    fd = os.memfd_create("vmlinux")
    unpack_kernel(vmlinuz, fd)
    yield read_elf(ImageFile(fd, "vmlinux"))
    os.close(fd)


def test_the_kernel_unpacks_to_what_it_promises(vmlinuz: ImageFile, vmlinux: ElfImage) -> None:
    assert vmlinux.file.size == find_payload(vmlinuz).unpacked_size


def test_the_notes_are_those_of_a_pv_and_pvh_kernel(vmlinux: ElfImage) -> None:
    notes = xen_notes(vmlinux)
    assert (notes.guest_os, notes.xen_version, notes.loader) == ("linux", "xen-3.0", "generic")
    assert notes.virt_base == 0xFFFF_FFFF_8000_0000
    assert notes.suspend_cancel == 1
    first = vmlinux.segments[0]
    assert notes.phys32_entry is not None
    assert first.address <= notes.phys32_entry < first.end


def test_the_kernel_and_its_ramdisk_load(guest: Path, vmlinux: ElfImage) -> None:
    platform = pvh_platform(256 << 20, vcpus=2, max_vcpus=4)
    memory = FlatMemory(platform.memory_map)
    ramdisk = guest / "initramfs"
    with ramdisk.open("rb") as file:
        modules = [ImageFile(file.fileno(), "initramfs")]
        start = load_pvh(platform, memory, vmlinux.file, modules, b"console=hvc0")
    for segment in vmlinux.segments:
        size = min(segment.file_size, 4096)
        assert memory.read(segment.address, size) == vmlinux.file.read(segment.offset, size)
    info = HVM_START_INFO.unpack(memory.read(start.start_info, HVM_START_INFO.size))
    module = HVM_MODLIST_ENTRY.unpack(memory.read(info.modlist_paddr, HVM_MODLIST_ENTRY.size))
    assert memory.read(module.paddr, module.size) == ramdisk.read_bytes()


def test_the_ramdisk_has_the_modules_of_its_kernel(guest: Path) -> None:
    entries = read_archive((guest / "initramfs").resolve().read_bytes())
    modules = {os.path.basename(path) for path in entries if path.endswith(".ko")}
    assert {"xen-blkfront.ko", "xen-netfront.ko", "xenfs.ko"} <= modules
