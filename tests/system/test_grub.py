"""GRUB 2's unmodified images for guests: the menu on the console, and the kernel that they boot from the disk."""

from __future__ import annotations

import functools
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from xenolith.builder.assets import Assets
from xenolith.builder.errors import BuildError
from xenolith.builder.grub_images import GrubImage, fetch_grub, find_grub
from xenolith.cli.assets import INIT

from .grub_disk import GRUB_CFG, SUPERBLOCK, make_disk, make_tree
from .host import READY, Host, eventually
from .terminal import Terminal

pytestmark = pytest.mark.guest

KINDS = ["pv", "pvh"]
DOWN, ENTER = b"\x1b[B", b"\r"
MENU = b"GNU GRUB  version"
PROMPT = b"grub> "
MadeDisk = Callable[[str], Path]
DamagedDisk = Callable[[int, bytes], Path]

START = 90
"""Seconds in which GRUB starts, and reads what it can, on a busy machine."""

BOOT = 300
"""Seconds in which GRUB unpacks a kernel, and the kernel boots, on a busy machine."""


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    """GRUB's images are there."""
    if any(find_grub(image) is None for image in GrubImage):
        try:
            fetch_grub(print)
        except BuildError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> MadeDisk:
    """Makes a disk with a menu, a kernel of one flavour and its ramdisk, once; tests only read it."""
    if shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        pytest.skip("mke2fs is missing: install e2fsprogs")

    @functools.cache
    def make(flavour: str) -> Path:
        try:
            guest = Assets(INIT, print).ensure(flavour)
        except BuildError as error:
            pytest.skip(str(error))
        directory = tmp_path_factory.mktemp(flavour)
        make_tree(directory / "tree", guest.kernel, guest.ramdisk)
        make_disk(directory / "disk.img", directory / "tree", 64 << 20)
        return directory / "disk.img"

    return make


@pytest.fixture
def damaged(disks: MadeDisk, tmp_path: Path) -> DamagedDisk:
    """Makes a copy of the disk with some of its bytes overwritten."""

    def make(offset: int, data: bytes) -> Path:
        path = tmp_path / "damaged.img"
        shutil.copyfile(disks("cloud"), path)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        return path

    return make


def grub(host: Host, kind: str, disk: Path) -> Path:
    """The configuration of a domain that GRUB boots."""
    path = host.directory / f"grub-{kind}.cfg"
    path.write_text(
        f'name = "grub"\ntype = "{kind}"\nfirmware = "pvgrub64"\nmemory = 256\nvcpus = 2\n'
        f'disk = ["{disk},raw,xvda,w"]\n'
    )
    return path


def settle(terminal: Terminal) -> None:
    """Wait for a shell, and go on from there."""
    terminal.wait_for(READY, BOOT)
    terminal.wait_for(b"# ")


@pytest.mark.parametrize(
    ("kind", "flavour"),
    [
        # The kernel of a PV guest has to be unpacked by GRUB, which cannot unpack the LZ4 of the cloud kernel.
        pytest.param("pv", "generic", marks=pytest.mark.slow),
        ("pvh", "cloud"),
    ],
)
def test_grub_boots_debian_from_the_guests_disk(
    host: Host, disks: MadeDisk, kind: str, flavour: str
) -> None:
    disk = disks(flavour)
    with host.terminal("create", "-c", grub(host, kind, disk)) as terminal:
        terminal.wait_for(MENU, START)
        terminal.type(DOWN)
        terminal.type(ENTER)
        settle(terminal)
        assert terminal.run("nproc") == "2\n"
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
    assert host.row("grub").vcpus == 2
    host.xl("shutdown", "-w", "grub")


def answer(terminal: Terminal, command: bytes, expected: bytes) -> None:
    """Type a command at GRUB's prompt and wait for what it says."""
    terminal.seen = b""
    terminal.type(command + b"\r")
    terminal.wait_for(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "data", "listed"),
    [
        (0, bytes(512), b"(xen/xvda)"),
        (446 + 8, b"\xff" * 8, b"(xen/xvda)"),
        (SUPERBLOCK, bytes(1024), b"(xen/xvda,msdos1)"),
        (SUPERBLOCK + 24, b"\xff" * 40, b"(xen/xvda,msdos1)"),
    ],
    ids=["no partition table", "a wild partition", "no superblock", "a wild superblock"],
)
def test_a_damaged_disk_leads_to_grubs_prompt(
    host: Host, damaged: DamagedDisk, kind: str, offset: int, data: bytes, listed: bytes
) -> None:
    with host.terminal("create", "-c", grub(host, kind, damaged(offset, data))) as terminal:
        terminal.wait_for(PROMPT, START)
        answer(terminal, b"ls", listed)
        answer(terminal, b"ls (xen/xvda,msdos1)/boot", PROMPT)
    assert "c" not in host.row("grub").state
    host.xl("destroy", "grub")
    assert "grub" not in host.names()


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_menu_there_is_grubs_prompt(host: Host, tmp_path: Path, kind: str) -> None:
    (tmp_path / "tree" / "boot").mkdir(parents=True)
    disk = tmp_path / "empty.img"
    make_disk(disk, tmp_path / "tree", 16 << 20)
    with host.terminal("create", "-c", grub(host, kind, disk)) as terminal:
        terminal.wait_for(PROMPT, START)
        answer(terminal, b"ls (xen/xvda,msdos1)/", b"boot/")
        answer(terminal, b"halt", b"")
        terminal.wait_end()
    eventually(lambda: "grub" not in host.names(), host.list)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_that_is_none_leads_back_to_the_menu(
    host: Host, tmp_path: Path, kind: str
) -> None:
    boot = tmp_path / "tree" / "boot"
    (boot / "grub").mkdir(parents=True)
    (boot / "grub" / "grub.cfg").write_text(GRUB_CFG)
    (boot / "vmlinuz").write_bytes(random.Random(1).randbytes(1 << 20))
    disk = tmp_path / "no-kernel.img"
    make_disk(disk, tmp_path / "tree", 16 << 20)
    with host.terminal("create", "-c", grub(host, kind, disk)) as terminal:
        terminal.wait_for(MENU, START)
        terminal.type(ENTER)
        terminal.wait_for(b"Press any key to continue")
        terminal.seen = b""
        terminal.type(ENTER)
        terminal.wait_for(MENU, START)


def test_a_guest_that_reboots_is_back_in_its_menu(host: Host, disks: MadeDisk) -> None:
    with host.terminal("create", "-c", grub(host, "pvh", disks("cloud"))) as terminal:
        terminal.wait_for(MENU, START)
        terminal.type(ENTER)
        settle(terminal)
    first = host.row("grub").domid
    host.xl("reboot", "grub")
    eventually(lambda: "grub" in host.names() and host.row("grub").domid > first, host.list)
    with host.terminal("console", "grub") as terminal:
        terminal.type(ENTER)
        settle(terminal)
        assert "entry=first" in terminal.run("cat /proc/cmdline")
