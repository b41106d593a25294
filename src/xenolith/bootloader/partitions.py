"""Partition tables: the MBR with its extended partitions, and GPT (UEFI specification, chapter 5).

Numbers are those of Linux and GRUB 2: from 1, logical partitions from 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from xenolith.bootloader.disk import Disk

_SECTOR = 512
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_ACTIVE = 0x80
_MOST_LOGICAL = 256

_GPT_SIGNATURE = b"EFI PART"
_GPT_HEADER = struct.Struct("<8s64xQII")
"""Signature; then, at 72, the LBA of the entries, their number, and the size of each."""
_GPT_ENTRY = struct.Struct("<16s16xQQQ")
"""Type, first and last LBA, attributes."""
_MOST_GPT_ENTRIES = 1024
_LEGACY_BOOTABLE = 1 << 2


class Partition(NamedTuple):
    """One partition; ``start`` and ``size`` are bytes."""

    scheme: str
    """``msdos`` or ``gpt``, as GRUB calls it."""
    number: int
    start: int
    size: int
    active: bool
    """Whether it is marked as the one to boot from."""


def partitions(disk: Disk) -> list[Partition]:
    """The partitions of a disk, by number; none where it has no table."""
    entries = _mbr_entries(disk, 0)
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        for sector_size, at in ((512, 512), (4096, 4096), (512, disk.size - 512)):
            found = _gpt(disk, at, sector_size)
            if found:
                return found
    return sorted(_msdos(disk, entries), key=lambda partition: partition.number)


def _mbr_entries(disk: Disk, at: int) -> list[tuple[int, int, int, int]]:
    """Flags, type, first sector and number of sectors of the four entries of a boot record."""
    sector = disk.read(at, _SECTOR)
    if sector[510:512] != b"\x55\xaa":
        return []
    entries = (struct.unpack_from("<B3xB3xII", sector, 446 + 16 * number) for number in range(4))
    return [(flags, kind, first, count) for flags, kind, first, count in entries]


def _msdos(disk: Disk, entries: list[tuple[int, int, int, int]]) -> Iterator[Partition]:
    for number, (flags, kind, first, count) in enumerate(entries, 1):
        if kind in _EXTENDED:
            yield from _logical(disk, first)
        elif kind and first and count:
            yield _partition("msdos", number, first, count, bool(flags & _ACTIVE))


def _logical(disk: Disk, extended: int) -> Iterator[Partition]:
    """The chain of boot records in an extended partition: one partition and a link each."""
    at, seen = extended, set[int]()
    while at not in seen and len(seen) < _MOST_LOGICAL:
        seen.add(at)
        link = None
        for flags, kind, first, count in _mbr_entries(disk, at * _SECTOR)[:2]:
            if kind in _EXTENDED:
                link = extended + first
            elif kind and count:
                number = 4 + len(seen)
                yield _partition("msdos", number, at + first, count, bool(flags & _ACTIVE))
        if link is None:
            return
        at = link


def _partition(scheme: str, number: int, first: int, count: int, active: bool) -> Partition:
    return Partition(scheme, number, first * _SECTOR, count * _SECTOR, active)


def _gpt(disk: Disk, at: int, sector_size: int) -> list[Partition]:
    header = disk.read(at, _GPT_HEADER.size)
    if len(header) < _GPT_HEADER.size:
        return []
    signature, entries, count, entry_size = _GPT_HEADER.unpack(header)
    if signature != _GPT_SIGNATURE or entry_size < 128 or count > _MOST_GPT_ENTRIES:
        return []
    found = []
    for number in range(count):
        data = disk.read(entries * sector_size + number * entry_size, _GPT_ENTRY.size)
        if len(data) < _GPT_ENTRY.size:
            break
        kind, first, last, attributes = _GPT_ENTRY.unpack(data)
        if any(kind) and first <= last:
            size = (last - first + 1) * sector_size
            active = bool(attributes & _LEGACY_BOOTABLE)
            found.append(Partition("gpt", number + 1, first * sector_size, size, active))
    return found
