"""Small kernel images for the builder's tests, made from their parts."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import lz4.block
import zstandard

from xenolith.abi.elfnote import ElfNote
from xenolith.builder.image_file import ImageFile

LZ4_BLOCK = 8 << 20


@contextmanager
def image_of(data: bytes, name: str = "kernel") -> Iterator[ImageFile]:
    """The data as an open file."""
    fd = os.memfd_create("test-image")
    try:
        os.write(fd, data)
        yield ImageFile(fd, name)
    finally:
        os.close(fd)


def lz4_legacy(data: bytes) -> bytes:
    """What ``lz4 -l`` writes."""
    frame = b"\x02\x21\x4c\x18"
    for start in range(0, len(data), LZ4_BLOCK):
        block = lz4.block.compress(data[start : start + LZ4_BLOCK], store_size=False)
        frame += struct.pack("<I", len(block)) + block
    return frame


def with_size(data: bytes, packed: bytes) -> bytes:
    """Append the unpacked length, as Linux's build does."""
    return packed + struct.pack("<I", len(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda data: with_size(data, bz2.compress(data)),
    "lzma": lambda data: with_size(data, lzma.compress(data, lzma.FORMAT_ALONE)),
    "xz": lambda data: with_size(
        data,
        lzma.compress(
            data,
            lzma.FORMAT_XZ,
            lzma.CHECK_CRC32,
            filters=[{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}],
        ),
    ),
    "zstd": lambda data: with_size(data, zstandard.compress(data)),
    "lz4": lambda data: with_size(data, lz4_legacy(data)),
}
"""A payload of a bzImage for each way to pack it."""


def bzimage(payload: bytes, version: int = 0x20F, setup_sects: int = 2) -> bytes:
    """A bzImage around a payload, which lies 16 bytes behind the setup sectors."""
    head = bytearray((setup_sects + 1) * 512)
    head[0x1F1] = setup_sects
    struct.pack_into("<H4sH", head, 0x1FE, 0xAA55, b"", 0)
    struct.pack_into("<4sH", head, 0x202, b"HdrS", version)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + b"\xcc" * 16 + payload


class Load(NamedTuple):
    """A segment: where it goes, its bytes in the file, its size in memory."""

    address: int
    data: bytes
    memory_size: int


def note(kind: int, descriptor: bytes, name: bytes = b"Xen\0") -> bytes:
    """One encoded ELF note."""
    padded = descriptor + bytes(-len(descriptor) % 4)
    head = struct.pack("<III", len(name), len(descriptor), kind)
    return head + name + bytes(-len(name) % 4) + padded


def number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "little")


def pvh_note(entry: int) -> bytes:
    return note(ElfNote.PHYS32_ENTRY, number(entry, 4))


def elf64(loads: Sequence[Load], notes: bytes = b"", note_sections: bytes = b"") -> bytes:
    """A 64-bit ELF image; ``notes`` go into a PT_NOTE, ``note_sections`` into an SHT_NOTE."""
    programs = len(loads) + bool(notes)
    sections = bool(note_sections)
    content_at = 64 + 56 * programs + 64 * sections
    content, table = b"", b""
    for load in loads:
        table += struct.pack(
            "<IIQQQQQQ",
            1,
            7,
            content_at + len(content),
            load.address & 0x7FFF_FFFF | 0xFFFF_FFFF_8000_0000,
            load.address,
            len(load.data),
            load.memory_size,
            0x1000,
        )
        content += load.data
    if notes:
        at = content_at + len(content)
        table += struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), len(notes), 4)
        content += notes
    section_table_at = 64 + len(table)
    if note_sections:
        at = content_at + len(content)
        table += struct.pack("<IIQQQQIIQQ", 0, 7, 0, 0, at, len(note_sections), 0, 0, 4, 0)
        content += note_sections
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        62,
        1,
        0,
        64,
        section_table_at if sections else 0,
        0,
        64,
        56,
        programs,
        64,
        int(sections),
        0,
    )
    return header + table + content


def elf32(loads: Sequence[Load], notes: bytes) -> bytes:
    """A 32-bit ELF image with its notes in a PT_NOTE, as GRUB's are."""
    content_at = 52 + 32 * (len(loads) + 1)
    content, table = b"", b""
    for load in loads:
        at = content_at + len(content)
        sizes = (len(load.data), load.memory_size)
        table += struct.pack("<IIIIIIII", 1, at, load.address, load.address, *sizes, 7, 4)
        content += load.data
    at = content_at + len(content)
    table += struct.pack("<IIIIIIII", 4, at, 0, 0, len(notes), 0, 4, 4)
    ident = b"\x7fELF\x01\x01\x01"
    shape = (52, 0, 0, 52, 32, len(loads) + 1, 40, 0, 0)
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, 3, 1, 0, *shape)
    return header + table + content + notes


def kernel_module(**fields: str | Sequence[str]) -> bytes:
    """A kernel module that says ``fields`` of itself in its .modinfo section."""
    info = b""
    for key, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            info += f"{key}={value}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    table = bytes(64)
    table += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(info), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    ident = b"\x7fELF\x02\x01\x01"
    shape = (0, 0, 64 + len(info) + len(names), 0, 64, 56, 0, 64, 3, 2)
    return struct.pack("<16sHHIQQQIHHHHHH", ident, 1, 62, 1, *shape) + info + names + table


def with_section(image: bytes, name: bytes, content: bytes) -> bytes:
    """A 64-bit ELF image without sections, given one of this name."""
    names = b"\0" + name + b"\0.shstrtab\0"
    at = len(image)
    sections = [(0, 0, 0, 0), (1, 1, at, len(content))]
    sections.append((2 + len(name), 3, at + len(content), len(names)))
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", title, kind, 0, 0, offset, size, 0, 0, 1, 0)
        for title, kind, offset, size in sections
    )
    whole = bytearray(image + content + names + table)
    struct.pack_into("<Q", whole, 40, at + len(content) + len(names))
    struct.pack_into("<HHH", whole, 58, 64, len(sections), len(sections) - 1)
    return bytes(whole)
