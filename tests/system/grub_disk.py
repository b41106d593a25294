"""Disks that GRUB boots from: an ext4 file system in the first partition of an MBR, made without root."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SECTOR = 512
FIRST_SECTOR = 2048
PARTITION = FIRST_SECTOR * SECTOR
"""Where the partition begins, in bytes."""

SUPERBLOCK = PARTITION + 1024
"""Where the file system's superblock is."""

_TABLE = 446
_LINUX = 0x83
_ACTIVE = 0x80

GRUB_CFG = """\
insmod gzio
if [ "$grub_platform" = xen ]; then insmod xzio; fi
set timeout=-1
menuentry "Debian" {
    linux /boot/vmlinuz console=hvc0 mitigations=off entry=first
    initrd /boot/initrd
}
menuentry "Debian, the other entry" {
    linux /boot/vmlinuz console=hvc0 mitigations=off entry=second
    initrd /boot/initrd
}
"""
"""What update-grub writes, in short: GRUB needs to be told which decompressors it may need."""


def make_disk(path: Path, tree: Path, size: int) -> None:
    """Make a disk of ``size`` bytes at ``path``, its one partition holding the files below ``tree``."""
    sectors = size // SECTOR - FIRST_SECTOR
    entry = struct.pack(
        "<B3sB3sII", _ACTIVE, b"\0\x02\0", _LINUX, b"\xff\xff\xff", FIRST_SECTOR, sectors
    )
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(_TABLE)
        file.write(entry + bytes(3 * len(entry)) + b"\x55\xaa")
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert mke2fs is not None
    options = ["-q", "-F", "-t", "ext4", "-E", f"offset={PARTITION}", "-d", str(tree)]
    subprocess.run([mke2fs, *options, str(path), f"{sectors // 2}k"], check=True)


def make_tree(tree: Path, kernel: Path, ramdisk: Path) -> None:
    """Lay out ``/boot`` as a Debian has it."""
    grub = tree / "boot" / "grub"
    grub.mkdir(parents=True)
    (grub / "grub.cfg").write_text(GRUB_CFG)
    shutil.copyfile(kernel, tree / "boot" / "vmlinuz")
    shutil.copyfile(ramdisk, tree / "boot" / "initrd")
