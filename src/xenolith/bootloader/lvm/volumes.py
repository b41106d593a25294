"""Logical volumes of LVM2 on one disk: linear and striped ones, as installers make them.

A physical volume says where it has the description of its group, in which each logical volume is a list of
segments (lib/format_text/layout.h of LVM2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xenolith.bootloader.disk import Bytes, DiskStream
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.lvm.description import Section, parse

_SECTOR = 512
_LABEL_SECTORS = 4
_LABEL = struct.Struct("<8sQII8s")
"""Magic number, its own sector, checksum, where the header of the physical volume is, type."""
_LABEL_MAGIC, _LABEL_TYPE = b"LABELONE", b"LVM2 001"
_HEADER = struct.Struct("<32sQ")
_AREA = struct.Struct("<QQ")
_METADATA_HEADER = struct.Struct("<I16sIQQ")
_METADATA_MAGIC = b" LVM2 x[5A%r0N*>"
_LOCATION = struct.Struct("<QQII")
_IGNORED = 1
_MOST_AREAS = 16
_LARGEST_TEXT = 4 << 20
_MOST_SEGMENTS = 4096
_STRIPED = ("striped", "linear")


class PhysicalVolume(NamedTuple):
    """One partition, or disk, of a volume group."""

    uuid: str
    """Without dashes."""
    group: Section
    """What it says of its group: one section with the group's name."""
    part: DiskStream


class LogicalVolume(NamedTuple):
    """One that may hold a file system."""

    name: str
    """``lvm/vg-lv``, as GRUB calls it."""
    aliases: tuple[str, ...]
    content: Bytes


def physical_volume(part: DiskStream) -> PhysicalVolume | None:
    """The physical volume in a part of a disk; None if it is none. BootError: damaged."""
    for sector in range(_LABEL_SECTORS):
        data = _at(part, sector * _SECTOR, _LABEL.size)
        magic, _, _, offset, kind = _LABEL.unpack(data)
        if (magic, kind) == (_LABEL_MAGIC, _LABEL_TYPE):
            return _open(part, sector * _SECTOR + offset)
    return None


def logical_volumes(parts: Sequence[PhysicalVolume]) -> tuple[list[LogicalVolume], list[str]]:
    """Those of all groups by name, and why there are not more."""
    by_uuid = {part.uuid: part for part in parts}
    found, problems = dict[str, LogicalVolume](), list[str]()
    for part in parts:
        for group_name, group in part.group.sections.items():
            for name, volume in group.inner("logical_volumes").items():
                label = f"lvm/{_escaped(group_name)}-{_escaped(name)}"
                status = volume.values.get("status")
                if label in found or not isinstance(status, list) or "VISIBLE" not in status:
                    continue
                try:
                    content = _Mapped(_runs(group, volume, by_uuid))
                    ids = f"lvmid/{group.text('id')}/{volume.text('id')}"
                except BootError as error:
                    problems.append(f"({label}): {error}")
                    continue
                found[label] = LogicalVolume(label, (ids,), content)
    return list(found.values()), problems


def _escaped(name: str) -> str:
    return name.replace("-", "--")


def _at(part: DiskStream, offset: int, size: int) -> bytes:
    part.seek(offset)
    return part.read(size).ljust(size, b"\0")


def _areas(part: DiskStream, at: int) -> Iterator[tuple[int, int]]:
    """A list of areas, which one that begins nowhere ends."""
    for number in range(_MOST_AREAS):
        start, size = _AREA.unpack(_at(part, at + number * _AREA.size, _AREA.size))
        if not start:
            return
        yield start, size


def _open(part: DiskStream, at: int) -> PhysicalVolume:
    uuid, _ = _HEADER.unpack(_at(part, at, _HEADER.size))
    data_list = at + _HEADER.size
    metadata_list = data_list + (len(list(_areas(part, data_list))) + 1) * _AREA.size
    for start, _size in _areas(part, metadata_list):
        text = _text(part, start)
        if text is not None:
            return PhysicalVolume(uuid.decode(errors="replace"), parse(text), part)
    raise BootError("an LVM volume without a description of its group")


def _text(part: DiskStream, area: int) -> str | None:
    """The newest description in a metadata area, which is a ring behind the area's header."""
    _, magic, _, start, size = _METADATA_HEADER.unpack(_at(part, area, _METADATA_HEADER.size))
    offset, length, _, flags = _LOCATION.unpack(
        _at(part, area + _METADATA_HEADER.size, _LOCATION.size)
    )
    if magic != _METADATA_MAGIC or not offset or flags & _IGNORED:
        return None
    if length > min(size, _LARGEST_TEXT) or offset > size:
        raise BootError("LVM's description is damaged")
    head = min(length, size - offset)
    raw = _at(part, start + offset, head) + _at(part, start + _SECTOR, length - head)
    return raw.rstrip(b"\0").decode(errors="replace")


class _Run(NamedTuple):
    """Bytes of a logical volume that are together on a part of the disk."""

    start: int
    length: int
    part: DiskStream
    offset: int


def _runs(group: Section, volume: Section, parts: dict[str, PhysicalVolume]) -> list[_Run]:
    extent = group.number("extent_size") * _SECTOR
    segments = [value for name, value in volume.sections.items() if name.startswith("segment")]
    if not segments or len(segments) > _MOST_SEGMENTS or not extent:
        raise BootError("a volume of no or too many segments")
    runs: list[_Run] = []
    for segment in segments:
        kind = segment.text("type")
        if kind not in _STRIPED:
            raise BootError(f"pygrub does not read LVM volumes of type {kind}")
        stripes = segment.values.get("stripes")
        if not isinstance(stripes, list) or len(stripes) != 2:
            raise BootError("pygrub does not read LVM volumes that are striped over several disks")
        name, first = stripes
        physical = group.inner("physical_volumes").get(str(name))
        if physical is None or not isinstance(first, int) or first < 0:
            raise BootError("a segment of LVM's lies nowhere")
        part = parts.get(physical.text("id").replace("-", ""))
        if part is None:
            raise BootError(f"a part of the LVM volume is not on this disk but on another ({name})")
        start = segment.number("start_extent") * extent
        length = segment.number("extent_count") * extent
        offset = physical.number("pe_start") * _SECTOR + first * extent
        runs.append(_Run(start, length, part.part, offset))
    return sorted(runs, key=lambda run: run.start)


class _Mapped:
    """A logical volume's bytes; zeroes where no segment has any."""

    def __init__(self, runs: list[_Run]) -> None:
        self._runs = runs
        self.size = max(run.start + run.length for run in runs)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes at ``offset``: less only where the volume ends."""
        end = min(offset + length, self.size)
        if offset < 0 or offset >= end:
            return b""
        data = bytearray(end - offset)
        for run in self._runs:
            first, last = max(offset, run.start), min(end, run.start + run.length)
            if first < last:
                part = _at(run.part, run.offset + first - run.start, last - first)
                data[first - offset : last - offset] = part
        return bytes(data)
