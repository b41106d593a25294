"""What only a mounted btrfs can be given: compressed files, and another default subvolume."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xenolith.bootloader.boot import boot
from xenolith.bootloader.options import Options

from . import images

KERNEL = b"".join(b"line %d of a kernel that compresses well\n" % line for line in range(40_000))
SCRIPT = b"menuentry a { linux /boot/vmlinuz a; }\n"


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Path]:
    """A new btrfs, mounted; the test is skipped where that is not allowed."""
    images.run(images.program("mkfs.btrfs", "btrfs-progs"), "-q", images.sized(image, 128 << 20))
    directory = image.with_suffix(".mount")
    directory.mkdir()
    mount = ["mount", "-o", ",".join(["loop", *options]), str(image), str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a btrfs needs privileges")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def plant(directory: Path) -> None:
    images.plant(directory, {"boot/vmlinuz": KERNEL, "boot/grub2/grub.cfg": SCRIPT})


def kernel_of(image: Path) -> bytes:
    kernel = bytearray()
    opened = images.opened(image)
    boot(opened, Options(), None, kernel.extend, lambda _data: None)
    opened.close()
    return bytes(kernel)


@pytest.mark.parametrize("method", ["zstd", "lzo", "zlib"])
def test_compressed_files(tmp_path: Path, method: str) -> None:
    image = tmp_path / "disk.img"
    with mounted(image, f"compress-force={method}") as directory:
        plant(directory)
    assert kernel_of(image) == KERNEL


def test_another_default_subvolume(tmp_path: Path) -> None:
    """As openSUSE has it: paths begin at the snapshot that is in use."""
    btrfs = images.program("btrfs", "btrfs-progs")
    image = tmp_path / "disk.img"
    with mounted(image) as directory:
        images.run(btrfs, "subvolume", "create", directory / "snapshot")
        images.run(btrfs, "subvolume", "set-default", directory / "snapshot")
        plant(directory / "snapshot")
    assert kernel_of(image) == KERNEL
