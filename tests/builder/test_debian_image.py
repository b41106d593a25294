"""A whole Debian is made of what mmdebstrap delivers; that itself is made in the slow tests."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from xenolith.builder import debian_image, debian_recipe
from xenolith.builder.debian_image import DebianImages, apt_sources, running_release
from xenolith.builder.errors import BuildError
from xenolith.storage.open import open_image

SIZE = 64 << 20

needs_mke2fs = pytest.mark.skipif(
    shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin") is None or os.geteuid() != 0,
    reason="needs mke2fs and root",
)


def program(directory: Path, name: str, script: str) -> None:
    """A program that stands in for one of the machine's."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an mmdebstrap is that delivers a tiny system, and logs its arguments in `calls`."""
    directory = tmp_path / "bin"
    directory.mkdir()
    with tarfile.open(directory / "system.tar", "w") as tar:
        contents = {
            "boot/vmlinuz-6.1.0": b"kernel",
            "boot/initrd.img-6.1.0": b"ramdisk",
            "etc/x": b"y",
        }
        for name, data in contents.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    program(
        directory,
        "mmdebstrap",
        f'echo "$@" >>{directory}/calls\n'
        'for word in "$@"; do case "$word" in *root.tar) cp '
        f'{directory}/system.tar "$word";; esac; done',
    )
    program(directory, "apt-get", "exit 1")
    monkeypatch.setitem(debian_image._PATH, "PATH", f"{directory}:{os.environ['PATH']}:/usr/sbin")
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


@needs_mke2fs
class TestMaking:
    def test_kernel_ramdisk_and_disk(self, programs: Path, tmp_path: Path) -> None:
        image = DebianImages(print, tmp_path / "debian").ensure("bookworm", SIZE)
        assert image.kernel.read_bytes() == b"kernel"
        assert image.ramdisk.read_bytes() == b"ramdisk"
        disk = open_image(image.disk, "vhd", writable=False)
        assert disk.size >= SIZE
        data = memoryview(bytearray(4096))
        disk.readv([data], 0)
        # The magic number and the label of an ext4.
        assert bytes(data[1080:1082]) == b"\x53\xef"
        assert bytes(data[1144:1160]).rstrip(b"\0") == debian_recipe.LABEL.encode()
        allocated = sum(extent.length for extent in disk.extents(0, SIZE) if extent.allocated)
        assert allocated < SIZE
        disk.close()
        assert set(os.listdir(tmp_path / "debian")) == {image.directory.name, "lock"}

    def test_it_is_made_once(self, programs: Path, tmp_path: Path) -> None:
        images = DebianImages(print, tmp_path / "it's mine")
        assert images.ensure("bookworm", SIZE) == images.ensure("bookworm", SIZE)
        assert len((programs / "calls").read_text().splitlines()) == 1
        images.ensure("trixie", SIZE)
        assert len((programs / "calls").read_text().splitlines()) == 2

    def test_what_was_interrupted_leaves_nothing(self, programs: Path, tmp_path: Path) -> None:
        program(programs, "mmdebstrap", "exit 1")
        images = DebianImages(print, tmp_path / "debian")
        with pytest.raises(BuildError, match=r"could not make Debian bookworm.*apt reach a mirror"):
            images.ensure("bookworm", SIZE)
        (tmp_path / "debian" / "making-old").mkdir()
        with pytest.raises(BuildError):
            images.ensure("bookworm", SIZE)
        assert os.listdir(tmp_path / "debian") == ["lock"]

    def test_a_system_without_a_kernel(self, programs: Path, tmp_path: Path) -> None:
        with tarfile.open(programs / "system.tar", "w"):
            pass
        with pytest.raises(BuildError, match="hold no vmlinuz"):
            DebianImages(print, tmp_path / "debian").ensure("bookworm", SIZE)


def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(debian_image._PATH, "PATH", str(tmp_path))
    with pytest.raises(BuildError, match="apt-get install mmdebstrap e2fsprogs"):
        DebianImages(print, tmp_path / "debian").ensure("bookworm", SIZE)


@pytest.mark.parametrize("suite", ["", "../etc", "Bookworm", "a b", "-x"])
def test_names_that_are_no_releases(tmp_path: Path, suite: str) -> None:
    with pytest.raises(BuildError, match="not the name of a release"):
        DebianImages(print, tmp_path).ensure(suite, SIZE)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('ID=debian\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"),
        ("ID=debian\n", "stable"),
        ("ID=fedora\nVERSION_CODENAME=\n", "stable"),
    ],
)
def test_the_running_release(tmp_path: Path, text: str, release: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert running_release(tmp_path / "os-release") == release
    assert running_release(tmp_path / "nothing") == "stable"


def test_the_mirrors_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        "http://mirror/debian/ bookworm main\n"
        "http://mirror/debian/ bookworm contrib\n"
        "http://other/debian/ bookworm main\n"
        "http://mirror/debian-security/ bookworm-security main\n"
        "https://packages.example.com/apt cloud-sdk-bookworm main\n"
        "cdrom:[Debian GNU/Linux 12 _Bookworm_]/ bookworm-updates main\n"
        "http://mirror/debian/ bookworm-updates main\n"
    )
    program(tmp_path, "apt-get", f"cat <<'END'\n{lines}END")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert apt_sources("bookworm") == [
        "deb http://mirror/debian/ bookworm main",
        "deb http://mirror/debian-security/ bookworm-security main",
        "deb http://mirror/debian/ bookworm-updates main",
    ]
    assert apt_sources("trixie") == []


class TestRecipe:
    def test_the_overlay_holds_what_makes_it_a_guest(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(debian_recipe.overlay())) as tar:
            members = {member.name: member for member in tar}
            assert all(member.uid == member.gid == 0 for member in members.values())
            fstab = tar.extractfile("etc/fstab")
            assert fstab is not None
            assert fstab.read().startswith(f"LABEL={debian_recipe.LABEL} / ext4".encode())
            assert members["etc/systemd/system/apt-daily.timer"].linkname == "/dev/null"
            seed = tar.extractfile("etc/cloud/cloud.cfg.d/90_xenolith.cfg")
            assert seed is not None
            assert b"NoCloud" in seed.read()

    def test_hooks_are_valid_shell(self) -> None:
        command = debian_recipe.mmdebstrap("root", "bookworm", "t.tar", "o.tar", ["deb x y z"])
        hooks = [word.partition("=")[2] for word in command if word.startswith("--customize-hook")]
        assert hooks
        for hook in hooks:
            subprocess.run(["sh", "-n", "-c", hook], check=True)
        assert command[-3:] == ["bookworm", "t.tar", "deb x y z"]

    def test_the_identity_is_that_of_the_recipe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = debian_recipe.identity()
        assert re.fullmatch("[0-9a-f]{12}", before)
        assert debian_recipe.identity() == before
        monkeypatch.setattr(debian_recipe, "PACKAGES", (*debian_recipe.PACKAGES, "vim"))
        assert debian_recipe.identity() != before
