"""From images of every kind to kernel, ramdisk and command line, as options want them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from xenolith.bootloader.boot import boot, listing
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.options import Options, parse_options

from . import images

KERNEL, RAMDISK, MICROCODE = (
    images.content(1, 300_001),
    images.content(2, 200_003),
    images.content(3, 1000),
)
GRUB_CFG = b"""\
set timeout=5
menuentry 'First' --id first { linux /boot/vmlinuz root=/dev/xvda1 ro; initrd /boot/initrd; }
submenu 'More' {
  menuentry 'Both' { linux /boot/vmlinuz both; initrd /boot/ucode /boot/initrd; }
  menuentry 'Lost' { linux /boot/gone; }
}
"""
TREE = {
    "boot/vmlinuz": KERNEL,
    "boot/initrd": RAMDISK,
    "boot/ucode": MICROCODE,
    "boot/grub/grub.cfg": GRUB_CFG,
}
OTHER = {"vmlinuz": b"another kernel", "grub/menu.lst": b"title Other\nkernel /vmlinuz other\n"}
TABLE = "label: gpt\nstart=2048, size=65536, type=L\nstart=67584, size=65536, type=L\n"


class Booted(NamedTuple):
    kernel: bytes
    ramdisk: bytes
    arguments: str


def booted(path: Path, options: Options | None = None, image_format: str = "raw") -> Booted:
    image = images.opened(path, image_format)
    kernel, ramdisk = bytearray(), bytearray()
    try:
        outcome = boot(image, options or Options(), None, kernel.extend, ramdisk.extend)
    finally:
        image.close()
    return Booted(bytes(kernel), bytes(ramdisk), outcome.command_line)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with GRUB 2 in its first partition and grub-legacy in its second."""
    directory = tmp_path_factory.mktemp("disk")
    make = images.make_ext("ext4")
    first = make(directory / "first", images.plant(directory / "tree1", TREE))
    second = make(directory / "second", images.plant(directory / "tree2", OTHER))
    return images.partitioned(directory / "disk.img", TABLE, {2048: first, 67584: second})


def test_the_default(disk: Path) -> None:
    assert booted(disk) == (KERNEL, RAMDISK + b"\0", "root=/dev/xvda1 ro")


def test_arguments_are_appended(disk: Path) -> None:
    options = Options(args="console=hvc0 quiet")
    assert booted(disk, options).arguments == "root=/dev/xvda1 ro console=hvc0 quiet"


@pytest.mark.parametrize("entry", ["1>0", "More>Both", "1"])
def test_ramdisks_follow_each_other(disk: Path, entry: str) -> None:
    found = booted(disk, Options(entry=entry))
    assert found.arguments == "both"
    assert found.ramdisk == MICROCODE + RAMDISK + b"\0"


def test_a_partition_is_chosen(disk: Path) -> None:
    assert booted(disk, Options(partition=2)) == (b"another kernel", b"", "other")
    assert booted(disk, Options(offset=67584 * 512)) == (b"another kernel", b"", "other")
    with pytest.raises(BootError, match="the disk has no file system that pygrub reads"):
        booted(disk, Options(partition=3))


def test_files_are_named(disk: Path) -> None:
    options = Options(kernel="/vmlinuz", ramdisk="/boot/ucode", args="mine")
    assert booted(disk, options) == (b"another kernel", MICROCODE, "mine")
    assert booted(disk, Options(ramdisk="/boot/ucode")).ramdisk == MICROCODE
    with pytest.raises(BootError, match="there is no file /nowhere on the disk"):
        booted(disk, Options(kernel="/nowhere"))


def test_a_kernel_that_is_not_there(disk: Path) -> None:
    with pytest.raises(BootError, match="there is no file /boot/gone on the ext4"):
        booted(disk, Options(entry="1>1"))


def test_the_listing(disk: Path) -> None:
    image = images.opened(disk)
    assert list(listing(image, Options(args="x"))) == [
        "* 0: First",
        "  1: More",
        "    1>0: Both",
        "    1>1: Lost",
    ]
    image.close()


def test_a_command_line_that_linux_would_cut(disk: Path) -> None:
    with pytest.raises(BootError, match="longer than 2047 bytes"):
        booted(disk, Options(args="x" * 2047))
    with pytest.raises(BootError, match="characters that do not belong there"):
        booted(disk, Options(args="a\nb"))


def vhd(*arguments: object) -> None:
    command = [sys.executable, "-m", "xenolith.cli.vhd", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def test_a_vhd_with_a_parent(disk: Path, tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.vhd", tmp_path / "child.vhd"
    vhd("convert", "--from=raw", disk, parent)
    vhd("clone", parent, child)
    assert booted(child, image_format="vhd") == booted(disk)


def test_a_disk_that_is_one_file_system(tmp_path: Path) -> None:
    tree = images.plant(tmp_path / "tree", TREE)
    assert booted(images.make_fat(tmp_path / "fat.img", tree)).kernel == KERNEL


def test_a_subvolume_of_btrfs(tmp_path: Path) -> None:
    """As Ubuntu and Debian have it: GRUB's paths begin above the root directory."""
    script = GRUB_CFG.replace(b"/boot/", b"/@/boot/")
    tree = {f"@/{name}": content for name, content in TREE.items()}
    tree["@/boot/grub/grub.cfg"] = script
    image = images.make_btrfs(tmp_path / "btrfs.img", images.plant(tmp_path / "tree", tree))
    assert booted(image).kernel == KERNEL


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["-q"], Options(quiet=True)),
        (["--list-entries", "--not-really"], Options(list_entries=True, not_really=True)),
        (["--entry=1>2", "--args", "a b"], Options(entry="1>2", args="a b")),
        (["--kernel=/k", "--ramdisk=/r"], Options(kernel="/k", ramdisk="/r")),
        (["--offset=32256", "--partition=1"], Options(offset=32256, partition=1)),
        (
            ["-i", "--output-format=simple0", "--runas=99", "--args=a", "--args=b"],
            Options(args="b"),
        ),
    ],
)
def test_options(arguments: list[str], options: Options) -> None:
    assert parse_options([*arguments, "disk.img"]) == (options, ["disk.img"])
    assert Options.from_dict(options.to_dict()) == options


@pytest.mark.parametrize("argument", ["--offset=-1", "--partition=x", "--nonsense", "--entry"])
def test_options_that_make_no_sense(argument: str) -> None:
    with pytest.raises(BootError, match=r"^pygrub: "):
        parse_options([argument])
