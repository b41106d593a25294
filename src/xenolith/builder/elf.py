"""Reads kernel images in ELF: where their segments go, and their notes.

The format is that of the System V ABI, elf(5); an image may be ELF64, or ELF32 such as GRUB's.
Every number in a header is checked before it is used: kernels come from guests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from xenolith.abi.elfnote import NOTE_NAME
from xenolith.abi.layout import Layout
from xenolith.builder.elf_headers import (
    ELF_CLASSES,
    ELF_MAGIC,
    EM_386,
    EM_X86_64,
    LITTLE_ENDIAN,
    NOTE_HEADER,
    PT_LOAD,
    PT_NOTE,
    SHT_NOTE,
    ElfClass,
)
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile

_MOST_HEADERS = 1024
"""Entries of a header table; Linux's vmlinux has 5 program and 39 section headers."""
_LARGEST_SECTION = 1 << 20
"""Bytes of a section that is read as a whole: names of sections, and the like."""
_GUEST_SECTION = b"__xen_guest"
_LARGEST_NOTES = 1 << 20
"""Bytes of all notes; Linux's take 512."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD segment: file bytes, then zeros up to ``memory_size``, at ``address``."""

    address: int
    memory_size: int
    offset: int
    file_size: int

    @property
    def end(self) -> int:
        """The guest-physical address behind the segment."""
        return self.address + self.memory_size


@dataclass(frozen=True, slots=True)
class Note:
    """One ELF note: its owner's name without terminator, its type and its descriptor."""

    name: bytes
    type: int
    descriptor: bytes


@dataclass(frozen=True, slots=True)
class ElfImage:
    """A kernel image whose headers have been checked.

    ``segments`` are not empty, sorted by address, do not overlap and lie within the file.
    """

    file: ImageFile
    segments: tuple[Segment, ...]
    notes: tuple[Note, ...]
    entry: int
    """The entry point of the header, a virtual address."""
    machine: int
    """EM_386 or EM_X86_64."""
    guest_section: bytes | None
    """The content of the section that older kernels have instead of Xen's notes."""


def is_elf(image: ImageFile) -> bool:
    """Whether the file starts with ELF's magic number."""
    return image.size >= len(ELF_MAGIC) and image.read(0, len(ELF_MAGIC)) == ELF_MAGIC


def read_elf(image: ImageFile) -> ElfImage:
    """Read and check the headers of an x86 kernel; BuildError says what is wrong with it.

    Notes come from PT_NOTE segments, or from SHT_NOTE sections where the segments hold none of
    Xen's, as in Xen's own loader; ``__xen_guest`` counts where there are none at all.
    """
    layouts, header = _read_header(image)
    if header.e_machine not in (EM_386, EM_X86_64):
        raise BuildError(f"{image.name} is for another processor (ELF machine {header.e_machine})")
    programs = _table(image, header.e_phoff, header.e_phnum, header.e_phentsize, layouts.phdr)
    segments = _segments(image, programs)
    notes = _notes(image, [(p.p_offset, p.p_filesz) for p in programs if p.p_type == PT_NOTE])
    if not any(note.name == NOTE_NAME for note in notes):
        sections = _table(image, header.e_shoff, header.e_shnum, header.e_shentsize, layouts.shdr)
        notes = _notes(image, [(s.sh_offset, s.sh_size) for s in sections if s.sh_type == SHT_NOTE])
    guest_section = None
    if not any(note.name == NOTE_NAME for note in notes):
        guest_section = _find_section(image, _GUEST_SECTION)
    return ElfImage(image, segments, notes, header.e_entry, header.e_machine, guest_section)


def read_section(image: ImageFile, name: bytes) -> bytes:
    """The content of the section called ``name``; BuildError if there is none."""
    content = _find_section(image, name)
    if content is None:
        raise BuildError(f"{image.name} has no section {name.decode()}")
    return content


def _find_section(image: ImageFile, name: bytes) -> bytes | None:
    layouts, header = _read_header(image)
    sections = _table(image, header.e_shoff, header.e_shnum, header.e_shentsize, layouts.shdr)
    if header.e_shstrndx < len(sections):
        names = _content(image, sections[header.e_shstrndx])
        for section in sections:
            if names[section.sh_name :].partition(b"\0")[0] == name:
                return _content(image, section)
    return None


def _content(image: ImageFile, section: Any) -> bytes:
    if section.sh_size > _LARGEST_SECTION:
        raise BuildError(f"{image.name} is damaged: it has a section of {section.sh_size} bytes")
    _check_extent(image, "section", section.sh_offset, section.sh_size)
    return image.read(section.sh_offset, section.sh_size)


def _read_header(image: ImageFile) -> tuple[ElfClass, Any]:
    if not is_elf(image):
        raise BuildError(f"{image.name} is not an ELF image")
    ident = image.read(0, 16)
    layouts = ELF_CLASSES.get(ident[4])
    if layouts is None or ident[5] != LITTLE_ENDIAN:
        raise BuildError(f"{image.name} is not a little-endian ELF image of 32 or 64 bits")
    header = layouts.ehdr.unpack(image.read(0, layouts.ehdr.size))
    return layouts, header


def _table(image: ImageFile, offset: int, count: int, entry: int, layout: Layout[Any]) -> list[Any]:
    """Read ``count`` headers of ``entry`` bytes each, as the ELF header announces them."""
    if count == 0:
        return []
    if entry != layout.size or count > _MOST_HEADERS:
        raise BuildError(
            f"{image.name} is damaged: its ELF header announces {count} headers of {entry} bytes"
        )
    _check_extent(image, "header table", offset, count * entry)
    data = image.read(offset, count * entry)
    return [layout.unpack(data, index * entry) for index in range(count)]


def _check_extent(image: ImageFile, what: str, offset: int, size: int) -> None:
    if offset + size > image.size:
        raise BuildError(
            f"{image.name} is truncated: its {what} at {offset:#x} of {size} bytes ends behind "
            f"the file's {image.size} bytes"
        )


def _segments(image: ImageFile, programs: Iterable[Any]) -> tuple[Segment, ...]:
    segments = []
    for header in programs:
        if header.p_type != PT_LOAD or header.p_memsz == 0:
            continue
        if header.p_filesz > header.p_memsz:
            raise BuildError(
                f"{image.name} is damaged: its segment at {header.p_paddr:#x} is larger in the "
                "file than in memory"
            )
        _check_extent(image, "segment", header.p_offset, header.p_filesz)
        segments.append(Segment(header.p_paddr, header.p_memsz, header.p_offset, header.p_filesz))
    if not segments:
        raise BuildError(f"{image.name} has nothing to load: it holds no ELF segments")
    segments.sort(key=lambda segment: segment.address)
    for lower, upper in pairwise(segments):
        if lower.end > upper.address:
            raise BuildError(
                f"{image.name} is damaged: its segments at {lower.address:#x} and "
                f"{upper.address:#x} overlap"
            )
    return tuple(segments)


def _notes(image: ImageFile, areas: list[tuple[int, int]]) -> tuple[Note, ...]:
    """Parse the note areas, each an offset and a size in bytes."""
    if sum(size for _, size in areas) > _LARGEST_NOTES:
        raise BuildError(f"{image.name} is damaged: its notes are larger than {_LARGEST_NOTES}")
    notes: list[Note] = []
    for offset, size in areas:
        _check_extent(image, "note", offset, size)
        notes.extend(_parse_notes(image.read(offset, size)))
    return tuple(notes)


def _parse_notes(area: bytes) -> Iterator[Note]:
    """Split an area of notes; one that overruns the area is cut.

    Not an error: the last note of GRUB's i386-xen image claims 12 bytes where only 4 are left.
    """
    position = 0
    while position + NOTE_HEADER.size <= len(area):
        header = NOTE_HEADER.unpack(area, position)
        name = position + NOTE_HEADER.size
        descriptor = name + _aligned(header.n_namesz)
        position = descriptor + _aligned(header.n_descsz)
        yield Note(
            area[name : name + header.n_namesz].rstrip(b"\0"),
            header.n_type,
            area[descriptor : descriptor + header.n_descsz],
        )


def _aligned(size: int) -> int:
    """Names and descriptors of notes are padded to 4 bytes."""
    return size + 3 & ~3
