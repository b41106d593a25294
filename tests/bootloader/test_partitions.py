"""Partition tables as sfdisk(8) and sgdisk(8) write them, and ones that nobody should write."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.bootloader.disk import Disk
from xenolith.bootloader.partitions import Partition, partitions

from . import images

MIB = images.MIB

TABLES = {
    "primary": "label: dos\nsize=1MiB, type=83\nsize=2MiB, type=83, bootable\nsize=1MiB, type=82\n",
    "logical": "label: dos\nsize=1MiB, type=83\nsize=8MiB, type=5\nsize=1MiB, type=83\n"
    "size=1MiB, type=82\nsize=2MiB, type=83\n",
    "hole": "label: dos\n4: start=4MiB, size=1MiB, type=83\n",
    "gpt": "label: gpt\nsize=1MiB, type=U\nsize=2MiB, type=L, attrs=LegacyBIOSBootable\n"
    "size=4MiB, type=L\n",
    "gpt hole": "label: gpt\n7: size=1MiB, type=L\n",
}


def disk_of(path: Path) -> Disk:
    return Disk(images.opened(path))


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_sfdisk(name: str, tmp_path: Path) -> None:
    sfdisk = images.program("sfdisk", "fdisk")
    path = images.sized(tmp_path / "disk", 16 * MIB)
    images.run(sfdisk, "-q", path, typed=TABLES[name])
    dump = subprocess.run([sfdisk, "-J", path], capture_output=True, check=True).stdout
    table = json.loads(dump)["partitiontable"]
    scheme = {"dos": "msdos", "gpt": "gpt"}[table["label"]]
    expected = [
        Partition(
            scheme,
            int(entry["node"].removeprefix(str(path))),
            entry["start"] * 512,
            entry["size"] * 512,
            entry.get("bootable", False) or "LegacyBIOSBootable" in entry.get("attrs", ""),
        )
        for entry in table["partitions"]
        if entry["type"] not in ("5", "f")
    ]
    assert partitions(disk_of(path)) == expected
    assert expected


def test_the_second_header_of_a_gpt(tmp_path: Path) -> None:
    sfdisk = images.program("sfdisk", "fdisk")
    path = images.sized(tmp_path / "disk", 16 * MIB)
    images.run(sfdisk, "-q", path, typed=TABLES["gpt"])
    before = partitions(disk_of(path))
    with path.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    assert partitions(disk_of(path)) == before


def boot_record(*entries: tuple[int, int, int]) -> bytes:
    """A sector with entries of type, first sector and number of sectors."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def written(path: Path, sectors: dict[int, bytes], size: int = MIB) -> Disk:
    images.sized(path, size)
    with path.open("r+b") as file:
        for number, data in sectors.items():
            file.seek(512 * number)
            file.write(data)
    return disk_of(path)


def test_extended_partitions_in_a_circle(tmp_path: Path) -> None:
    sectors = {
        0: boot_record((5, 10, 1000)),
        10: boot_record((0x83, 1, 5), (5, 10, 100)),
        20: boot_record((0x83, 1, 5), (5, 0, 100)),
    }
    found = partitions(written(tmp_path / "disk", sectors))
    assert [partition.number for partition in found] == [5, 6]


def test_extended_partitions_without_end(tmp_path: Path) -> None:
    chain = {n: boot_record((0x83, 0, 1), (5, n - 10 + 1, 1)) for n in range(10, 1500)}
    sectors = {0: boot_record((5, 10, 9000)), **chain}
    assert len(partitions(written(tmp_path / "disk", sectors))) == 256


@pytest.mark.parametrize(
    ("count", "entry_size"), [(0xFFFFFFFF, 128), (128, 0), (128, 0xFFFFFFFF), (1024, 128)]
)
def test_senseless_headers_of_a_gpt(tmp_path: Path, count: int, entry_size: int) -> None:
    header = struct.pack("<8s64xQII", b"EFI PART", 2, count, entry_size)
    sectors = {0: boot_record((0xEE, 1, 0xFFFFFFFF)), 1: header, 2: b"\xff" * 4096}
    for partition in partitions(written(tmp_path / "disk", sectors)):
        assert partition.size > 0


@given(st.binary(min_size=512, max_size=512), st.binary(min_size=512, max_size=512))
def test_any_bytes(first: bytes, second: bytes) -> None:
    class Sectors:
        size = 4096
        read_only = True

        def readv(self, buffers: list[memoryview], offset: int) -> None:
            data = (first[:510] + b"\x55\xaa" + second) * 4
            for buffer in buffers:
                buffer[:] = data[offset : offset + len(buffer)]
                offset += len(buffer)

    for partition in partitions(Disk(Sectors())):  # type: ignore[arg-type]
        assert partition.number > 0
        assert partition.start >= 0
