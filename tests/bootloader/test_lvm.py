"""A /boot on LVM: where GRUB's names for its volumes lead, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.bootloader.boot import Outcome, boot
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.lvm.description import parse
from xenolith.bootloader.options import Options

from . import images

KERNEL, RAMDISK = images.content(1, 9 * images.MIB + 1), images.content(2, 1000)
GROUP_ID, ROOT_ID = (
    "vRXFe7-uAUO-e4i2-SD7Q-bjFo-40cW-4fNZK3",
    "YCxgyH-nhgr-T1xh-l6To-K1Bs-dZEJ-23hfQH",
)
TABLE = "label: gpt\nstart=2048, size=65536\nstart=67584, size=131072\n"


def config(root: str) -> bytes:
    lines = (
        f"set root='{root}'",
        "menuentry a {",
        "linux /boot/vmlinuz root=/dev/mapper/guest--vg-root",
        "initrd /boot/initrd",
        "}",
        "",
    )
    return "\n".join(lines).encode()


def make(directory: Path, root: str = images.LVM_ROOT) -> Path:
    tree = {"boot/grub/grub.cfg": config(root), "boot/vmlinuz": KERNEL, "boot/initrd": RAMDISK}
    return images.make_lvm(directory / "lvm", images.plant(directory / "tree", tree))


def booted(image: Path) -> tuple[Outcome, bytes]:
    kernel = bytearray()
    outcome = boot(images.opened(image), Options(), None, kernel.extend, lambda _data: None)
    return outcome, bytes(kernel)


def spoil(image: Path, old: bytes, new: bytes) -> None:
    """Change the description of the volumes, which has no checksum that anybody looks at."""
    content = image.read_bytes()
    assert len(old) == len(new) and old in content
    image.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    "root", [images.LVM_ROOT, f"lvmid/{GROUP_ID}/{ROOT_ID}", "lvm/of-another-disk"]
)
def test_a_kernel_on_a_logical_volume(tmp_path: Path, root: str) -> None:
    outcome, kernel = booted(make(tmp_path, root))
    assert outcome.kernel == f"({images.LVM_ROOT})/boot/vmlinuz"
    assert outcome.command_line == "root=/dev/mapper/guest--vg-root"
    assert kernel == KERNEL


def test_a_configuration_on_a_partition_names_a_logical_volume(tmp_path: Path) -> None:
    boot_tree = {"grub/grub.cfg": config(images.LVM_ROOT)}
    partition = images.make_ext("ext2")(
        tmp_path / "boot", images.plant(tmp_path / "boot-tree", boot_tree)
    )
    disk = images.partitioned(tmp_path / "disk", TABLE, {2048: partition, 67584: make(tmp_path)})
    outcome, kernel = booted(disk)
    assert outcome.kernel == f"({images.LVM_ROOT})/boot/vmlinuz"
    assert kernel == KERNEL


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'type = "striped"', b'type = "raid1"  ', "does not read LVM volumes of type raid1"),
        (b'"pv0", 4\n', b'"pv1", 4\n', "lies nowhere"),
        (b"LVM2 x[5A%r0N*>", b"LVM2 x[5A%r0N*<", "without a description"),
        (b"segment_count", b"segment{count", "LVM's description"),
        (b'id = "p6J5x3', b'id = "q6J5x3', r"not on this disk but on another \(pv0\)"),
    ],
    ids=["type", "place", "header", "text", "disk"],
)
def test_volumes_that_cannot_be_read_are_named(
    tmp_path: Path, old: bytes, new: bytes, why: str
) -> None:
    image = make(tmp_path)
    spoil(image, old, new)
    with pytest.raises(BootError, match=why) as raised:
        booted(image)
    assert "LVM" in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "a {",
        "a = [1, ",
        'a = "',
        "a { b = 1 } }",
        "= 1",
        "a = {",
        "a { " * 1000,
        "#" * 100_000 + "\n!",
    ],
)
def test_descriptions_without_sense(text: str) -> None:
    with pytest.raises(BootError):
        parse(text)


def test_a_description() -> None:
    section = parse('a { b = -5 # c\n d = ["x\\"y", 2] e { } }\n f = 1.5\n')
    assert section.values == {"f": 1}
    assert section.sections["a"].values == {"b": -5, "d": ['x"y', 2]}
    assert "e" in section.sections["a"].sections
