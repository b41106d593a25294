"""The headers of ELF files of both classes, little endian, as the System V ABI defines them.

Fields keep their names of elf(5), so both classes are read by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from xenolith.abi.layout import U16, U32, U64, Layout

ELF_MAGIC = b"\x7fELF"
CLASS_32, CLASS_64 = 1, 2
LITTLE_ENDIAN = 1
EM_386, EM_X86_64 = 3, 62
PT_LOAD, PT_NOTE = 1, 4
SHT_NOTE = 7


class Ehdr64(NamedTuple):
    """Elf64_Ehdr: the header at the start of the file."""

    e_ident: Annotated[bytes, "16s"]
    e_type: U16
    e_machine: U16
    e_version: U32
    e_entry: U64
    e_phoff: U64
    e_shoff: U64
    e_flags: U32
    e_ehsize: U16
    e_phentsize: U16
    e_phnum: U16
    e_shentsize: U16
    e_shnum: U16
    e_shstrndx: U16


class Ehdr32(NamedTuple):
    """Elf32_Ehdr: the header at the start of the file."""

    e_ident: Annotated[bytes, "16s"]
    e_type: U16
    e_machine: U16
    e_version: U32
    e_entry: U32
    e_phoff: U32
    e_shoff: U32
    e_flags: U32
    e_ehsize: U16
    e_phentsize: U16
    e_phnum: U16
    e_shentsize: U16
    e_shnum: U16
    e_shstrndx: U16


class Phdr64(NamedTuple):
    """Elf64_Phdr: one program header."""

    p_type: U32
    p_flags: U32
    p_offset: U64
    p_vaddr: U64
    p_paddr: U64
    p_filesz: U64
    p_memsz: U64
    p_align: U64


class Phdr32(NamedTuple):
    """Elf32_Phdr: one program header."""

    p_type: U32
    p_offset: U32
    p_vaddr: U32
    p_paddr: U32
    p_filesz: U32
    p_memsz: U32
    p_flags: U32
    p_align: U32


class Shdr64(NamedTuple):
    """Elf64_Shdr: one section header."""

    sh_name: U32
    sh_type: U32
    sh_flags: U64
    sh_addr: U64
    sh_offset: U64
    sh_size: U64
    sh_link: U32
    sh_info: U32
    sh_addralign: U64
    sh_entsize: U64


class Shdr32(NamedTuple):
    """Elf32_Shdr: one section header."""

    sh_name: U32
    sh_type: U32
    sh_flags: U32
    sh_addr: U32
    sh_offset: U32
    sh_size: U32
    sh_link: U32
    sh_info: U32
    sh_addralign: U32
    sh_entsize: U32


class NoteHeader(NamedTuple):
    """Elf64_Nhdr and Elf32_Nhdr: sizes of the name and the descriptor that follow, in bytes."""

    n_namesz: U32
    n_descsz: U32
    n_type: U32


@dataclass(frozen=True, slots=True)
class ElfClass:
    """The layouts of one ELF class."""

    ehdr: Layout[Ehdr64] | Layout[Ehdr32]
    phdr: Layout[Phdr64] | Layout[Phdr32]
    shdr: Layout[Shdr64] | Layout[Shdr32]


ELF_CLASSES = {
    CLASS_64: ElfClass(Layout(Ehdr64), Layout(Phdr64), Layout(Shdr64)),
    CLASS_32: ElfClass(Layout(Ehdr32), Layout(Phdr32), Layout(Shdr32)),
}
NOTE_HEADER = Layout(NoteHeader)
