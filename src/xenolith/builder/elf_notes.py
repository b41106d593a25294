"""What a kernel says to Xen in its ELF notes, or in the section that older ones have, as one record.

The notes are those of public/elfnote.h; unknown ones are ignored, as in Xen's own loader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xenolith.abi.elfnote import NOTE_NAME, ElfNote, ElfNoteSince420
from xenolith.builder.elf import ElfImage, Note
from xenolith.builder.elf_guest_section import parse_guest_section
from xenolith.builder.errors import BuildError


@dataclass(frozen=True, slots=True)
class Phys32Reloc:
    """Where a PVH kernel may be moved to: alignment, lowest and highest address in bytes."""

    align: int
    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class L1MfnValid:
    """How an invalid page table entry is told: ``entry & mask != value``."""

    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class XenNotes:
    """The notes of one kernel; None where it has no such note."""

    entry: int | None = None
    hypercall_page: int | None = None
    virt_base: int | None = None
    paddr_offset: int | None = None
    xen_version: str | None = None
    guest_os: str | None = None
    guest_version: str | None = None
    loader: str | None = None
    pae_mode: str | None = None
    features: str | None = None
    bsd_symtab: str | None = None
    hv_start_low: int | None = None
    l1_mfn_valid: tuple[L1MfnValid, ...] = ()
    suspend_cancel: int | None = None
    init_p2m: int | None = None
    mod_start_pfn: int | None = None
    supported_features: int | None = None
    phys32_entry: int | None = None
    phys32_reloc: Phys32Reloc | None = None


_STRINGS = {
    ElfNote.XEN_VERSION,
    ElfNote.GUEST_OS,
    ElfNote.GUEST_VERSION,
    ElfNote.LOADER,
    ElfNote.PAE_MODE,
    ElfNote.FEATURES,
    ElfNote.BSD_SYMTAB,
}
_KINDS = {kind.value: kind for kind in (*ElfNote, *ElfNoteSince420) if kind is not ElfNote.INFO}


def xen_notes(elf: ElfImage) -> XenNotes:
    """Collect the notes of Xen that a kernel carries; BuildError if one is malformed."""
    if elf.guest_section is not None:
        try:
            section = parse_guest_section(elf.guest_section)
        except ValueError as error:
            raise BuildError(
                f"{elf.file.name} is damaged: in its section __xen_guest {error}"
            ) from error
        return XenNotes(**section.strings, **section.numbers)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for note in elf.notes:
        kind = _KINDS.get(note.type)
        if note.name != NOTE_NAME or kind is None:
            continue
        try:
            values[kind.name.lower()] = _value(kind, note)
        except ValueError as error:
            raise BuildError(
                f"{elf.file.name} is damaged: its note XEN_ELFNOTE_{kind.name} {error}"
            ) from error
    return XenNotes(**values)


def _value(kind: ElfNote | ElfNoteSince420, note: Note) -> object:
    data = note.descriptor
    if kind in _STRINGS:
        return data.rstrip(b"\0").decode("ascii", "backslashreplace")
    if kind is ElfNote.L1_MFN_VALID:
        return tuple(L1MfnValid(*pair) for pair in _pairs(data))
    if kind is ElfNoteSince420.PHYS32_RELOC:
        return _relocation(data)
    return _number(data)


def _number(data: bytes) -> int:
    if len(data) not in (1, 2, 4, 8):
        raise ValueError(f"has {len(data)} bytes where a number has 1, 2, 4 or 8")
    return int.from_bytes(data, "little")


def _pairs(data: bytes) -> list[tuple[int, int]]:
    """Pairs of numbers of the guest's word size: 8 bytes for a 64-bit kernel, else 4."""
    width = 8 if len(data) % 16 == 0 else 4
    if len(data) % (2 * width):
        raise ValueError(f"has {len(data)} bytes, which are no pairs of numbers")
    words = [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]
    return list(zip(words[::2], words[1::2], strict=True))


def _relocation(data: bytes) -> Phys32Reloc:
    """Align, min and max, of which a kernel may leave out the last ones."""
    defaults = (2 << 20, 0, 0xFFFF_FFFF)
    if len(data) % 4 or len(data) > 4 * len(defaults):
        raise ValueError(f"has {len(data)} bytes where one to three numbers of 4 bytes are due")
    given = tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))
    return Phys32Reloc(*(given + defaults[len(given) :]))
