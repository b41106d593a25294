"""Disks that were made to harm: `pygrub` ends in time, within its limits, with a sentence."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xenolith.bootloader.boot import boot, listing
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.limits import MEMORY
from xenolith.bootloader.options import Options

from . import images

MIB = images.MIB
GRUB_CFG = b"menuentry a { linux /boot/vmlinuz a; initrd /boot/initrd; }\n"
TREE = {
    "boot/grub/grub.cfg": GRUB_CFG,
    "boot/vmlinuz": images.content(1, 100_000),
    "boot/initrd": images.content(2, 100_000),
    **{f"boot/some/file-{number}": b"x" * number for number in range(100)},
}
MAKERS: dict[str, Callable[[Path, Path], Path]] = {
    "ext2": images.make_ext("ext2"),
    "ext4": images.make_ext("ext4"),
    "xfs": images.make_xfs,
    "btrfs": images.make_btrfs,
    "fat": images.make_fat,
    "iso": images.make_iso,
    "lvm": images.make_lvm,
}


def pygrub(image: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The program, which jails itself as the process for domains does."""
    return subprocess.run(
        [sys.executable, "-m", "xenolith.cli.pygrub", *options, str(image)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refusal(image: Path, *options: str) -> str:
    done = pygrub(image, *options)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture(scope="module", params=MAKERS)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind = str(request.param)
    directory = tmp_path_factory.mktemp(kind)
    return MAKERS[kind](directory / kind, images.plant(directory / "tree", TREE))


def test_a_jailed_process_reads_every_file_system(sound: Path) -> None:
    """Nothing is loaded when it is needed, which the jail would not allow."""
    done = pygrub(sound)
    assert (done.returncode, done.stderr) == (0, "")
    device = images.LVM_ROOT if sound.name == "lvm" else "hd0"
    assert done.stdout.lower() == (
        f"kernel: ({device})/boot/vmlinuz\nramdisk: ({device})/boot/initrd\nargs: a\n"
    )


def _ignore(_data: bytes) -> None:
    pass


def spoilt(sound: Path, directory: Path, seed: int) -> Path:
    """A copy with some bytes changed, most of them near the beginning."""
    chance = random.Random(seed)
    path = directory / "spoilt"
    subprocess.run(["cp", "--sparse=always", sound, path], check=True)
    with path.open("r+b") as file:
        for _ in range(chance.randrange(1, 200)):
            limit = chance.choice([2048, 65536 + 4096, 1 << 20, path.stat().st_size])
            file.seek(chance.randrange(limit))
            file.write(chance.choice([b"\0", b"\xff" * 4, chance.randbytes(1), b"\0\0\0\x80"]))
    return path


@pytest.mark.parametrize("seed", range(20))
def test_spoilt_file_systems(sound: Path, tmp_path: Path, seed: int) -> None:
    path = spoilt(sound, tmp_path, seed)
    child = os.fork()
    if child == 0:
        os._exit(_read_all(path))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGXCPU), f"{code}: see what was raised"


def _read_all(path: Path) -> int:
    """In a process of its own: 0 if it boots or is refused in a sentence."""
    # Tighter than those of pygrub in time; the tests' own memory counts as well.
    resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY * 4, MEMORY * 4))
    try:
        image = images.opened(path)
        list(listing(image, Options()))
        boot(image, Options(), None, _ignore, _ignore)
    except BootError as error:
        return 0 if str(error).isprintable() else 2
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


@pytest.mark.parametrize("kept", [0, 511, 1024, 2048, 36_000])
def test_cut_disks(sound: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut"
    with sound.open("rb") as whole:
        path.write_bytes(whole.read(kept))
    with pytest.raises(BootError):
        boot(images.opened(path), Options(), None, _ignore, _ignore)


def ext4(directory: Path, tree: images.Tree, *changes: str) -> Path:
    """An ext4 with changes by debugfs(8)."""
    image = images.make_ext("ext4")(directory / "disk.img", images.plant(directory / "tree", tree))
    if changes:
        debugfs = images.program("debugfs", "e2fsprogs")
        images.run(debugfs, "-w", "-f", "/dev/stdin", image, typed="\n".join(changes))
    return image


def test_links_in_a_circle(tmp_path: Path) -> None:
    tree = {"boot": Path("other"), "other": Path("boot"), "grub/grub.cfg": Path("/grub/menu.lst")}
    image = ext4(tmp_path, {**tree, "grub/menu.lst": Path("grub.cfg")})
    assert "no file of a boot loader is on (hd0) ext4" in refusal(image)


def test_a_directory_that_contains_itself(tmp_path: Path) -> None:
    image = ext4(tmp_path, TREE, "link /boot /boot/boot", "link /boot /boot/some/grub")
    path = "/boot" * 100 + "/vmlinuz"
    done = pygrub(image, f"--kernel={path}")
    assert done.stdout.startswith(f"kernel: (hd0){path}\n"), done
    endless = "/boot" * 300 + "/vmlinuz"
    assert "there is no file" in refusal(image, f"--kernel={endless}")


def test_a_configuration_of_gigabytes(tmp_path: Path) -> None:
    image = ext4(tmp_path, TREE, "sif /boot/grub/grub.cfg size 5000000000")
    assert "grub.cfg has 5000000000 bytes, and 1048576 is the limit" in refusal(image)


def test_a_kernel_of_terabytes(tmp_path: Path) -> None:
    image = ext4(tmp_path, TREE, "sif /boot/vmlinuz size 5000000000000")
    assert "/boot/vmlinuz has 5000000000000 bytes, and 134217728 is" in refusal(image)


def test_a_link_as_long_as_a_disk(tmp_path: Path) -> None:
    tree = TREE | {"link": Path("/boot/" * 20)}
    image = ext4(tmp_path, tree, "sif /link size 4000000000")
    assert "there is no file /link" in refusal(image, "--kernel=/link")


def test_scripts_without_end(tmp_path: Path) -> None:
    image = ext4(tmp_path, {"boot/grub/grub.cfg": b"while true; do true; done"})
    assert "the script takes more than 100000 steps" in refusal(image)


def test_submenus_without_end(tmp_path: Path) -> None:
    script = b"function f { submenu deeper { f; }; }; f\n"
    image = ext4(tmp_path, {"boot/grub/grub.cfg": script})
    assert "the menu has no entry to boot" in refusal(image)
    assert len(pygrub(image, "-l").stdout.splitlines()) < 20


def test_a_menu_that_controls_terminals(tmp_path: Path) -> None:
    script = b"menuentry '\x1b]0;owned\x07' { linux /boot/vmlinuz \x1b[2J; }\n"
    image = ext4(tmp_path, TREE | {"boot/grub/grub.cfg": script})
    listed = pygrub(image, "-l").stdout
    assert listed == "* 0: ?]0;owned?\n"
    assert "characters that do not belong there" in refusal(image)


def test_a_file_of_a_fat_that_goes_in_circles(tmp_path: Path) -> None:
    image = images.make_fat(tmp_path / "fat.img", images.plant(tmp_path / "tree", TREE))
    data = bytearray(image.read_bytes())
    reserved = int.from_bytes(data[14:16], "little")
    size = int.from_bytes(data[22:24], "little") or int.from_bytes(data[36:40], "little")
    wide = 4 if not int.from_bytes(data[22:24], "little") else 2
    for start in (reserved * 512, (reserved + size) * 512):
        for cluster in range(2, 4000):
            at = start + cluster * wide
            data[at : at + wide] = cluster.to_bytes(wide, "little")
    image.write_bytes(data)
    assert "the FAT is damaged (ValueError: the clusters of a file go in a circle" in refusal(image)


_ESCAPES = """
import os, socket
from xenolith.bootloader.limits import set_limits
from xenolith.machine import jail
set_limits()
jail.enter()
for escape in (
    lambda: open("/etc/passwd"),
    lambda: open("/dev/null", "w"),
    lambda: os.open(".", os.O_RDONLY),
    lambda: socket.socket(),
    lambda: socket.socket(socket.AF_UNIX),
    lambda: os.execv("/bin/true", ["true"]),
    lambda: os.fork(),
    lambda: os.kill(os.getppid(), 0),
    lambda: os.unlink("/tmp/nothing"),
):
    try:
        escape()
    except PermissionError:
        continue
    os._exit(1)
os._exit(0)
"""


def test_the_jail_refuses_files_programs_and_networks() -> None:
    subprocess.run([sys.executable, "-c", _ESCAPES], check=True)
