"""ELF images: segments and notes, sound and damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.abi.elfnote import ElfNote, ElfNoteSince420
from xenolith.builder.elf import ElfImage, Note, Segment, read_elf
from xenolith.builder.elf_notes import L1MfnValid, Phys32Reloc, XenNotes, xen_notes
from xenolith.builder.errors import BuildError

from .images import Load, elf32, elf64, image_of, note, number, pvh_note

LOADS = [Load(0x200_0000, b"data", 0x1000), Load(0x100_0000, b"text" * 4, 16)]


def parse(data: bytes) -> ElfImage:
    with image_of(data, "vmlinux") as image:
        return read_elf(image)


def notes_of(*notes: bytes) -> XenNotes:
    return xen_notes(parse(elf64(LOADS, b"".join(notes))))


def test_segments_come_sorted_with_their_extents() -> None:
    segments = parse(elf64(LOADS)).segments
    at = 64 + 2 * 56
    assert segments == (Segment(0x100_0000, 16, at + 4, 16), Segment(0x200_0000, 0x1000, at, 4))
    assert segments[1].end == 0x200_1000


def test_a_32_bit_image_is_read_like_a_64_bit_one() -> None:
    image = parse(elf32(LOADS, pvh_note(0x10_0000)))
    assert [(s.address, s.memory_size) for s in image.segments] == [
        (0x100_0000, 16),
        (0x200_0000, 0x1000),
    ]
    assert xen_notes(image).phys32_entry == 0x10_0000


def test_notes_are_found_in_sections_where_no_segment_has_them() -> None:
    gnu = note(3, b"build-id", b"GNU\0")
    image = parse(elf64(LOADS, gnu, note_sections=pvh_note(0x1234)))
    assert image.notes == (Note(b"Xen", ElfNote.PHYS32_ENTRY, number(0x1234, 4)),)


def test_sections_are_not_read_where_segments_have_the_notes() -> None:
    assert notes_of(pvh_note(1)).phys32_entry == 1
    both = elf64(LOADS, pvh_note(1), note_sections=pvh_note(2))
    assert xen_notes(parse(both)).phys32_entry == 1


def test_every_note_of_debians_kernels() -> None:
    kinds = ElfNote
    notes = notes_of(
        note(kinds.GUEST_OS, b"linux\0"),
        note(kinds.GUEST_VERSION, b"2.6\0"),
        note(kinds.XEN_VERSION, b"xen-3.0\0"),
        note(kinds.VIRT_BASE, number(0xFFFF_FFFF_8000_0000)),
        note(kinds.INIT_P2M, number(0x80_0000_0000)),
        note(kinds.ENTRY, number(0xFFFF_FFFF_8307_71C0)),
        note(kinds.FEATURES, b"!writable_page_tables|pae_pgdir_above_4gb"),
        note(kinds.SUPPORTED_FEATURES, number(0x8801, 4)),
        note(kinds.PAE_MODE, b"yes\0"),
        note(kinds.LOADER, b"generic\0"),
        note(kinds.L1_MFN_VALID, number(1) + number(1)),
        note(kinds.SUSPEND_CANCEL, number(1, 4)),
        note(kinds.MOD_START_PFN, number(1, 4)),
        note(kinds.HV_START_LOW, number(0xFFFF_8000_0000_0000)),
        note(kinds.PADDR_OFFSET, number(0)),
        note(kinds.HYPERCALL_PAGE, number(0xFFFF_FFFF_8100_2000)),
        note(kinds.BSD_SYMTAB, b"yes\0"),
        note(3, b"\1" * 20, b"GNU\0"),
        note(0x101, b"unknown"),
        note(kinds.PHYS32_ENTRY, number(0x100_0850)),
        note(ElfNoteSince420.PHYS32_RELOC, struct.pack("<III", 0x20_0000, 0x100_0000, 0x3FFF_FFFF)),
    )
    assert notes == XenNotes(
        entry=0xFFFF_FFFF_8307_71C0,
        hypercall_page=0xFFFF_FFFF_8100_2000,
        virt_base=0xFFFF_FFFF_8000_0000,
        paddr_offset=0,
        xen_version="xen-3.0",
        guest_os="linux",
        guest_version="2.6",
        loader="generic",
        pae_mode="yes",
        features="!writable_page_tables|pae_pgdir_above_4gb",
        bsd_symtab="yes",
        hv_start_low=0xFFFF_8000_0000_0000,
        l1_mfn_valid=(L1MfnValid(1, 1),),
        suspend_cancel=1,
        init_p2m=0x80_0000_0000,
        mod_start_pfn=1,
        supported_features=0x8801,
        phys32_entry=0x100_0850,
        phys32_reloc=Phys32Reloc(0x20_0000, 0x100_0000, 0x3FFF_FFFF),
    )


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        (b"", Phys32Reloc(0x20_0000, 0, 0xFFFF_FFFF)),
        (number(0x1000, 4), Phys32Reloc(0x1000, 0, 0xFFFF_FFFF)),
        (number(0x1000, 4) + number(5, 4), Phys32Reloc(0x1000, 5, 0xFFFF_FFFF)),
    ],
)
def test_a_relocation_note_may_leave_values_out(descriptor: bytes, expected: Phys32Reloc) -> None:
    assert notes_of(note(ElfNoteSince420.PHYS32_RELOC, descriptor)).phys32_reloc == expected


def test_a_last_note_that_overruns_is_cut() -> None:
    overrun = struct.pack("<III", 4, 12, ElfNote.PAE_MODE) + b"Xen\0yes\0"
    assert notes_of(overrun).pae_mode == "yes"


@pytest.mark.parametrize(
    ("kind", "descriptor"),
    [
        (ElfNote.ENTRY, b"123"),
        (ElfNote.PHYS32_ENTRY, b""),
        (ElfNote.L1_MFN_VALID, b"12345"),
        (ElfNoteSince420.PHYS32_RELOC, bytes(16)),
    ],
)
def test_a_note_of_a_wrong_size_is_refused(
    kind: ElfNote | ElfNoteSince420, descriptor: bytes
) -> None:
    with pytest.raises(BuildError, match=f"vmlinux is damaged: its note XEN_ELFNOTE_{kind.name}"):
        notes_of(note(kind, descriptor))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an ELF image"),
        (b"\x7fELF", "is truncated"),
        (b"#!/bin/sh\n" * 10, "is not an ELF image"),
        (b"\x7fELF\x02\x02" + bytes(100), "is not a little-endian ELF image"),
        (elf64([]), "has nothing to load"),
        (elf64([Load(0x1000, b"larger", 2)]), "is larger in the file than in memory"),
        (elf64([Load(0x1000, b"", 0x20), Load(0x1010, b"", 0x20)]), "0x1000 and 0x1010 overlap"),
        (elf64(LOADS, note_sections=bytes((1 << 20) + 4)), "its notes are larger"),
        (elf64(LOADS)[:-1], "is truncated: its segment"),
    ],
)
def test_an_unsound_image_is_named_and_refused(data: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=f"vmlinux .*{message}"):
        parse(data)


def test_another_processor_is_refused() -> None:
    data = bytearray(elf64(LOADS))
    data[18] = 183
    with pytest.raises(BuildError, match="ELF machine 183"):
        parse(bytes(data))


def test_a_huge_header_table_is_refused() -> None:
    data = bytearray(elf64(LOADS))
    struct.pack_into("<H", data, 56, 0xFFFF)
    with pytest.raises(BuildError, match="announces 65535 headers"):
        parse(bytes(data))


@given(
    data=st.sampled_from(
        [elf64(LOADS, pvh_note(1)), elf64(LOADS, b"", pvh_note(1)), elf32(LOADS, pvh_note(1))]
    ),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
    length=st.integers(0, 400),
)
def test_a_damaged_image_is_read_or_refused(
    data: bytes, damage: list[tuple[int, int]], length: int
) -> None:
    broken = bytearray(data[:length])
    for position, value in damage:
        if position < len(broken):
            broken[position] = value
    try:
        image = parse(bytes(broken))
        xen_notes(image)
    except BuildError as error:
        assert "vmlinux" in str(error)
    else:
        for segment in image.segments:
            assert segment.offset + segment.file_size <= len(broken)
            assert segment.memory_size > 0
            assert segment.file_size <= segment.memory_size


@given(st.binary(max_size=200))
def test_any_bytes_as_notes_are_read_or_refused(area: bytes) -> None:
    try:
        notes_of(area)
    except BuildError as error:
        assert "vmlinux" in str(error)
