"""GRUB 2's unmodified images for guests: the menu on the console, and the kernel that they boot from the disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from xenolith.builder.assets import Assets, Guest
from xenolith.builder.errors import BuildError
from xenolith.builder.grub_images import GrubImage, fetch_grub, find_grub
from xenolith.cli.assets import INIT

from .grub_disk import SUPERBLOCK, make_disk, make_tree
from .host import READY, Host
from .terminal import Terminal

pytestmark = pytest.mark.guest

KINDS = ["pv", "pvh"]
DOWN, ENTER = b"\x1b[B", b"\r"
MENU = b"GNU GRUB  version"
BOOT = 120
"""Seconds in which GRUB unpacks a kernel, and the kernel boots, on a busy machine."""


@pytest.fixture(scope="module")
def generic() -> Guest:
    """Debian's generic kernel: GRUB 2.06 cannot unpack the cloud kernel, whose compression is LZ4."""
    try:
        return Assets(INIT, print).ensure("generic")
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """GRUB's images are there."""
    if any(find_grub(image) is None for image in GrubImage):
        try:
            fetch_grub(print)
        except BuildError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def tree(generic: Guest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a guest's disk."""
    if shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        pytest.skip("mke2fs is missing: install e2fsprogs")
    tree = tmp_path_factory.mktemp("tree")
    make_tree(tree, generic.kernel, generic.ramdisk)
    return tree


@pytest.fixture(scope="module")
def disk(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a menu, a kernel and a ramdisk; tests only read it."""
    path = tmp_path_factory.mktemp("disk") / "disk.img"
    make_disk(path, tree, 64 << 20)
    return path


def grub(host: Host, kind: str, disk: Path) -> Path:
    """The configuration of a domain that GRUB boots."""
    path = host.directory / f"grub-{kind}.cfg"
    path.write_text(
        f'name = "grub"\ntype = "{kind}"\nfirmware = "pvgrub64"\nmemory = 256\n'
        f'disk = ["{disk},raw,xvda,w"]\n'
    )
    return path


def settle(terminal: Terminal) -> None:
    """Wait for a shell, and go on from there."""
    terminal.wait_for(READY, BOOT)
    terminal.wait_for(b"# ")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_grub_boots_debian_from_the_guests_disk(host: Host, disk: Path, kind: str) -> None:
    with host.terminal("create", "-c", grub(host, kind, disk)) as terminal:
        terminal.wait_for(MENU)
        terminal.type(DOWN)
        terminal.type(ENTER)
        settle(terminal)
        assert "entry=second" in terminal.run("cat /proc/cmdline")
        # What was GRUB's frontend is now Linux's.
        with disk.open("rb") as file:
            file.seek(SUPERBLOCK)
            superblock = file.read(1024)
        seen = terminal.run("dd if=/dev/xvda1 bs=1024 skip=1 count=1 2>/dev/null | md5sum")
        expected = subprocess.run(["md5sum"], input=superblock, capture_output=True, check=True)
        assert seen.split()[0] == expected.stdout.decode().split()[0]
        terminal.run("mkdir /disk; mount -t ext4 -o ro,noload /dev/xvda1 /disk")
        assert terminal.run("ls /disk/boot").split() == ["grub", "initrd", "vmlinuz"]
    assert host.row("grub").vcpus == 1
    host.xl("shutdown", "-w", "grub")
