"""Core dumps of guests: ELF core files of guest-physical memory, sparse where memory is.

The file is that of elf(5) with one PT_LOAD segment for each stretch of memory, as QEMU's
dump-guest-memory writes it, so crash(8) and gdb read it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xenolith.abi.layout import Layout
from xenolith.builder.elf_headers import (
    CLASS_64,
    ELF_MAGIC,
    EM_X86_64,
    LITTLE_ENDIAN,
    PT_LOAD,
    Ehdr64,
    Phdr64,
)
from xenolith.machine.address import PAGE_SIZE, GuestPhys

_ET_CORE = 4
_EV_CURRENT = 1
_READ_WRITE_EXECUTE = 7
_MAX_SEGMENTS = 0xFFFE
_COPY = 1 << 20

_EHDR = Layout(Ehdr64)
_PHDR = Layout(Phdr64)


class MemoryStretch(NamedTuple):
    """A stretch of guest memory and where it stands in the domain's memory file, in bytes."""

    guest_address: GuestPhys
    file_offset: int
    size: int


def write(target: int, memory: int, stretches: Sequence[MemoryStretch]) -> None:
    """Write a core file to the empty file ``target`` from the memory file; OSError.

    Memory that was never touched takes no space in the file.
    """
    if len(stretches) > _MAX_SEGMENTS:
        raise OSError(errno.EFBIG, "more stretches of memory than an ELF file holds segments")
    offset = _EHDR.size + len(stretches) * _PHDR.size
    headers = [_header(len(stretches))]
    copies = []
    for stretch in stretches:
        offset += -offset % PAGE_SIZE
        headers.append(_segment(stretch, offset))
        copies.append((stretch, offset))
        offset += stretch.size
    os.ftruncate(target, offset)
    _write_all(target, b"".join(headers), 0)
    for stretch, start in copies:
        for begin, end in _used(memory, stretch.file_offset, stretch.size):
            _copy(memory, begin, target, start + begin - stretch.file_offset, end - begin)


def _header(segments: int) -> bytes:
    ident = ELF_MAGIC + bytes((CLASS_64, LITTLE_ENDIAN, _EV_CURRENT))
    return _EHDR.pack(
        Ehdr64(
            e_ident=ident.ljust(16, b"\0"),
            e_type=_ET_CORE,
            e_machine=EM_X86_64,
            e_version=_EV_CURRENT,
            e_entry=0,
            e_phoff=_EHDR.size,
            e_shoff=0,
            e_flags=0,
            e_ehsize=_EHDR.size,
            e_phentsize=_PHDR.size,
            e_phnum=segments,
            e_shentsize=0,
            e_shnum=0,
            e_shstrndx=0,
        )
    )


def _segment(stretch: MemoryStretch, offset: int) -> bytes:
    return _PHDR.pack(
        Phdr64(
            p_type=PT_LOAD,
            p_flags=_READ_WRITE_EXECUTE,
            p_offset=offset,
            p_vaddr=0,
            p_paddr=stretch.guest_address,
            p_filesz=stretch.size,
            p_memsz=stretch.size,
            p_align=PAGE_SIZE,
        )
    )


def _used(memory: int, start: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a stretch of the memory file that are not holes."""
    limit = start + size
    while start < limit:
        try:
            begin = os.lseek(memory, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if begin >= limit:
            return
        start = min(os.lseek(memory, begin, os.SEEK_HOLE), limit)
        yield begin, start


def _copy(source: int, begin: int, target: int, start: int, size: int) -> None:
    while size:
        data = os.pread(source, min(size, _COPY), begin)
        if not data:
            return
        _write_all(target, data, start)
        begin += len(data)
        start += len(data)
        size -= len(data)


def _write_all(target: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(target, data, offset)
        data = data[written:]
        offset += written
