"""The section ``__xen_guest`` of older kernels: what it says, and PV domains that are built by it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.elfnote import ElfNote
from xenolith.builder.elf import read_elf
from xenolith.builder.elf_guest_section import parse_guest_section
from xenolith.builder.elf_notes import XenNotes, xen_notes
from xenolith.builder.errors import BuildError
from xenolith.builder.pv import PvImage, plan_pv
from xenolith.machine.address import PAGE_SIZE

from .images import Load, elf32, elf64, image_of, note, with_section

MIB = 1 << 20
FRAMES = 64 * MIB // PAGE_SIZE
VIRT_BASE = 0xFFFF_FFFF_8000_0000

MINI_OS = (
    b"GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,HYPERCALL_PAGE=0x2,"
    b"PAE=yes[extended-cr3],LOADER=generic\0"
)
LINUX_2_6 = (
    b"GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,"
    b"VIRT_ENTRY=0xffffffff80200000,HYPERCALL_PAGE=0x204,FEATURES=writable_page_tables\0LOADER=none"
)


def notes_of(section: bytes) -> XenNotes:
    with image_of(with_section(elf64([Load(0, b"code", 64)]), b"__xen_guest", section)) as image:
        return xen_notes(read_elf(image))


def planned(kernel: bytes) -> PvImage:
    with image_of(kernel, "vmlinux") as image:
        return plan_pv(image, None, FRAMES)


def test_mini_os() -> None:
    assert notes_of(MINI_OS) == XenNotes(
        guest_os="Mini-OS",
        xen_version="xen-3.0",
        loader="generic",
        pae_mode="yes[extended-cr3]",
        virt_base=0,
        paddr_offset=0,
        hypercall_page=0x2000,
    )


def test_the_hypercall_page_is_counted_from_the_base_and_loads_are_virtual_ones() -> None:
    assert notes_of(LINUX_2_6) == XenNotes(
        guest_os="linux",
        guest_version="2.6",
        xen_version="xen-3.0",
        features="writable_page_tables",
        virt_base=VIRT_BASE,
        paddr_offset=VIRT_BASE,
        entry=VIRT_BASE + 2 * MIB,
        hypercall_page=VIRT_BASE + 0x204000,
    )


def test_notes_win() -> None:
    image = elf64([Load(0, b"code", 64)], note(ElfNote.GUEST_OS, b"new\0"))
    with image_of(with_section(image, b"__xen_guest", MINI_OS)) as file:
        assert xen_notes(read_elf(file)).guest_os == "new"


@pytest.mark.parametrize(("text", "value"), [("0x1f", 31), ("017", 15), ("31", 31), ("0", 0)])
def test_numbers_are_those_of_c(text: str, value: int) -> None:
    section = parse_guest_section(f"VIRT_ENTRY={text}".encode())
    assert section.numbers["entry"] == value


@pytest.mark.parametrize("text", ["", "0x", "08", "-1", "1k", "0x10000000000000000", "9" * 20])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(
        BuildError, match=r"kernel is damaged: in its section __xen_guest VIRT_BASE"
    ):
        notes_of(f"XEN_VER=xen-3.0,VIRT_BASE={text}".encode())


@given(st.text(alphabet="VIRT_BASE=HYPCLPG,0x19\0").map(str.encode) | st.binary())
def test_any_content_is_read_or_refused(content: bytes) -> None:
    try:
        section = parse_guest_section(content)
    except ValueError:
        return
    assert all(0 <= value < 1 << 64 for value in section.numbers.values())


def test_a_kernel_linked_high_is_laid_out_from_its_base() -> None:
    kernel = elf64([Load(VIRT_BASE + 2 * MIB, b"code", 3 * PAGE_SIZE)])
    image = planned(with_section(kernel, b"__xen_guest", LINUX_2_6))
    assert image.layout.virt_base == VIRT_BASE
    assert image.layout.entry == VIRT_BASE + 2 * MIB
    assert image.layout.p2m.pfn == 2 * MIB // PAGE_SIZE + 3


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (b"GUEST_OS=linux", "another Xen: it asks for None"),
        (b"XEN_VER=xen-2.0,LOADER=generic", "another Xen: it asks for 'xen-2.0'"),
        (b"XEN_VER=xen-3.0,GUEST_OS=netbsd", "a loader of its own: None, for 'netbsd'"),
        (b"", "no Xen ELF notes"),
    ],
)
def test_kernels_for_something_else_are_refused(section: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        planned(with_section(elf64([Load(0, b"code", 64)]), b"__xen_guest", section))


def test_kernels_of_32_bits_are_refused() -> None:
    notes = note(ElfNote.XEN_VERSION, b"xen-3.0\0") + note(ElfNote.LOADER, b"generic\0")
    with pytest.raises(BuildError, match=r"vmlinux is a 32-bit kernel, .* try type='pvh'"):
        planned(elf32([Load(0, b"code", 64)], notes))
