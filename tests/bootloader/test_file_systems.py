"""Files come out of every kind of file system as they went in, along links, with names and UUIDs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xenolith.bootloader.disk import Disk, DiskStream
from xenolith.bootloader.errors import BootError
from xenolith.bootloader.file_system import FileSystem
from xenolith.bootloader.probe import open_file_system
from xenolith.storage.live import LiveImage

from . import images

FILES: dict[str, bytes] = {
    "boot/vmlinuz": images.content(1, 3 * images.MIB + 123),
    "boot/empty": b"",
    "boot/small": b"a few bytes",
    "etc/very-long-name-of-a-file.with.dots": b"x" * 5000,
}
LINKS: dict[str, Path] = {
    "vmlinuz": Path("boot/vmlinuz"),
    "boot/absolute": Path("/etc"),
    "boot/up": Path("../../../vmlinuz"),
    "loop": Path("loop"),
    "ping": Path("boot/pong"),
    "boot/pong": Path("../ping"),
    "dangling": Path("nowhere"),
    "long": Path("/".join(["boot/.."] * 30 + ["boot/small"])),
}

Maker = Callable[[Path, Path], Path]
WITH_LINKS: dict[str, Maker] = {
    "ext2": images.make_ext("ext2"),
    "ext3": images.make_ext("ext3"),
    "ext4": images.make_ext("ext4"),
    "xfs": images.make_xfs,
    "btrfs": images.make_btrfs,
    "iso": images.make_iso,
}
PLAIN: dict[str, Maker] = {"fat": images.make_fat, "joliet": images.make_joliet}


@pytest.fixture(scope="module", params=[*WITH_LINKS, *PLAIN])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def image(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(kind)
    tree = FILES | LINKS if kind in WITH_LINKS else FILES
    make = (WITH_LINKS | PLAIN)[kind]
    return make(directory / "disk.img", images.plant(directory / "tree", tree))


@pytest.fixture(scope="module")
def opened(image: Path) -> Iterator[LiveImage]:
    opened = images.opened(image)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def files(opened: LiveImage) -> FileSystem:
    disk = Disk(opened)
    found = open_file_system(DiskStream(disk, 0, disk.size))
    assert found is not None
    return found


def test_contents(files: FileSystem) -> None:
    for name, content in FILES.items():
        assert files.is_file(f"/{name}")
        assert files.size(f"/{name}") == len(content)
        assert files.read(f"/{name}", 4 * images.MIB) == content


def test_names(files: FileSystem) -> None:
    assert {"vmlinuz", "empty", "small"} <= set(map(str.lower, files.names("/boot")))
    assert "boot" in map(str.lower, files.names("/"))
    assert not {".", ".."} & set(files.names("/boot"))
    assert files.names("/nothing") == files.names("/boot/small") == []


def test_what_is_not_there(files: FileSystem) -> None:
    assert files.find("/boot/vmlinu") is None
    assert files.find("/boot/vmlinuz/more") is None
    assert not files.is_file("/boot")
    with pytest.raises(BootError, match="there is no file /boot/none"):
        files.read("/boot/none", 10)


def test_a_file_beyond_the_limit(files: FileSystem) -> None:
    with pytest.raises(BootError, match="bytes, and 10 is the limit"):
        files.read("/boot/small", 10)


def test_links(kind: str, files: FileSystem) -> None:
    if kind not in WITH_LINKS:
        pytest.skip("has no symbolic links")
    assert files.read("/vmlinuz", 4 * images.MIB) == FILES["boot/vmlinuz"]
    assert files.is_file("/boot/absolute/very-long-name-of-a-file.with.dots")
    assert files.is_file("/boot/up")
    assert files.is_file("/long")
    assert files.find("/dangling") is None
    for loop in ("/loop", "/ping", "/boot/pong/x"):
        assert not files.is_file(loop)
        with pytest.raises(BootError, match="more than 40 symbolic links"):
            files.find(loop)


def test_uuid_and_label(image: Path, files: FileSystem) -> None:
    blkid = shutil.which("blkid", path="/usr/sbin:/sbin:/usr/bin")
    if blkid is None:
        pytest.skip("blkid is absent (util-linux)")
    shown = subprocess.run(
        [blkid, "-p", "-o", "export", image], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines())
    assert files.uuid == values["UUID"].lower()
    assert files.label.lower() == values["LABEL"].lower()


def test_case_matters_except_to_fat(kind: str, files: FileSystem) -> None:
    assert files.is_file("/BOOT/VMLINUZ") == (kind in PLAIN)
