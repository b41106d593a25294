"""Makes disks with file systems by the stock programs, as guests have them."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from xenolith.storage.live import LiveImage
from xenolith.storage.open import open_image

MIB = 1 << 20
_SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

Tree = Mapping[str, bytes | Path]
"""Files by path without a leading slash; a Path is the target of a symbolic link."""


def program(name: str, package: str) -> str:
    """A program's path; the test is skipped where it is absent."""
    found = shutil.which(name, path=_SEARCH)
    if found is None:
        pytest.skip(f"{name} is absent ({package})")
    return found


def run(*command: str | Path, typed: str | None = None) -> None:
    done = subprocess.run(
        list(map(str, command)), input=typed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stderr)


def plant(directory: Path, tree: Tree) -> Path:
    for name, content in tree.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return directory


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def make_ext(kind: str) -> Callable[[Path, Path], Path]:
    def make(image: Path, tree: Path) -> Path:
        mke2fs = program("mke2fs", "e2fsprogs")
        run(mke2fs, "-q", "-F", "-t", kind, "-L", "boot", "-d", tree, sized(image, 32 * MIB))
        return image

    return make


_LVM_HEADER = Path(__file__).parent / "configs" / "lvm2-header.gz"
"""The first MiB that pvcreate, vgcreate, lvcreate and lvextend of LVM 2.03.16 have made of a disk of 64 MiB.

The group guest-vg has extents of 4 MiB: root is the four from number 4 and the two from number 10 on.
"""
LVM_ROOT = "lvm/guest--vg-root"
LVM_ROOT_BYTES = 24 * MIB
_EXTENT = 4 * MIB


def make_lvm(image: Path, tree: Path) -> Path:
    """A disk that is one physical volume, with an ext4 in the volume ``root``."""
    mke2fs = program("mke2fs", "e2fsprogs")
    volume = sized(image.with_suffix(".root"), LVM_ROOT_BYTES)
    run(mke2fs, "-q", "-F", "-t", "ext4", "-L", "boot", "-d", tree, volume)
    content = volume.read_bytes()
    with sized(image, 64 * MIB).open("r+b") as file:
        file.write(gzip.decompress(_LVM_HEADER.read_bytes()))
        for start, first in ((0, 4), (4 * _EXTENT, 10)):
            file.seek(MIB + first * _EXTENT)
            file.write(content[start : start + 4 * _EXTENT])
    return image


def make_xfs(image: Path, tree: Path) -> Path:
    lines = ["/dummy", "0 0", "d--755 0 0"]

    def add(directory: Path) -> None:
        for entry in sorted(directory.iterdir()):
            if entry.is_symlink():
                lines.append(f"{entry.name} l--777 0 0 {os.readlink(entry)}")
            elif entry.is_dir():
                lines.append(f"{entry.name} d--755 0 0")
                add(entry)
                lines.append("$")
            else:
                lines.append(f"{entry.name} ---644 0 0 {entry}")

    add(tree)
    prototype = image.with_suffix(".proto")
    prototype.write_text("\n".join([*lines, "$", ""]))
    mkfs = program("mkfs.xfs", "xfsprogs")
    run(mkfs, "-q", "-L", "boot", "-p", prototype, sized(image, 320 * MIB))
    return image


def make_btrfs(image: Path, tree: Path) -> Path:
    mkfs = program("mkfs.btrfs", "btrfs-progs")
    run(mkfs, "-q", "-L", "boot", "--rootdir", tree, sized(image, 128 * MIB))
    return image


def make_fat(image: Path, tree: Path) -> Path:
    mkfs, copy = program("mkfs.vfat", "dosfstools"), program("mcopy", "mtools")
    run(mkfs, "-n", "BOOT", sized(image, 48 * MIB))
    run(copy, "-s", "-i", image, *sorted(tree.iterdir()), "::")
    return image


def make_iso(image: Path, tree: Path) -> Path:
    xorriso = program("xorriso", "xorriso")
    run(xorriso, "-as", "mkisofs", "-quiet", "-R", "-V", "boot", "-o", image, tree)
    return image


def make_joliet(image: Path, tree: Path) -> Path:
    xorriso = program("xorriso", "xorriso")
    run(xorriso, "-as", "mkisofs", "-quiet", "-J", "--norock", "-V", "boot", "-o", image, tree)
    return image


def partitioned(image: Path, script: str, parts: Mapping[int, Path]) -> Path:
    """A disk with the partitions of a script of sfdisk(8), and file systems at those sectors."""
    sfdisk = program("sfdisk", "fdisk")
    end = max(512 * sector + path.stat().st_size for sector, path in parts.items())
    run(sfdisk, "-q", sized(image, end + MIB), typed=script)
    with image.open("r+b") as file:
        for sector, path in parts.items():
            file.seek(512 * sector)
            file.write(path.read_bytes())
    return image


def opened(image: Path, image_format: str = "raw") -> LiveImage:
    return open_image(image, image_format, writable=False)


def content(seed: int, size: int) -> bytes:
    """Bytes that do not compress and are the same each time."""
    return random.Random(seed).randbytes(size)
