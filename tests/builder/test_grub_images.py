"""GRUB's images from a package, fetched by an apt whose repository the tests fill."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from xenolith.builder.errors import BuildError
from xenolith.builder.grub_images import GrubImage, fetch_grub, find_grub
from xenolith.cli import grub as program

from .apt_repository import AptRepository

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is absent")

PACKAGE = "grub-xen-host"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptRepository:
    repository = AptRepository(tmp_path / "apt")
    monkeypatch.setenv("PATH", f"{repository.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("XENOLITH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    publish(repository, "2.06-1")
    return repository


def publish(
    repository: AptRepository, version: str, images: tuple[str, ...] = tuple(GrubImage)
) -> None:
    files = {f"usr/lib/grub-xen/{name}": f"{name} {version}".encode() for name in images}
    repository.publish(PACKAGE, version, files)
    repository.refresh()


def found(image: GrubImage, tmp_path: Path) -> bytes:
    path = find_grub(image, tmp_path)
    assert path is not None
    return path.read_bytes()


def test_both_images_are_fetched_once(apt: AptRepository, tmp_path: Path) -> None:
    assert find_grub(GrubImage.PV, tmp_path) is None
    fetch_grub(lambda _: None)
    for image in GrubImage:
        assert found(image, tmp_path) == f"{image} 2.06-1".encode()
    apt.calls()
    fetch_grub(lambda _: None)
    assert not [call for call in apt.calls() if "download" in call]


def test_a_newer_version_takes_their_place(apt: AptRepository, tmp_path: Path) -> None:
    fetch_grub(lambda _: None)
    publish(apt, "2.12-1")
    fetch_grub(lambda _: None)
    assert found(GrubImage.PVH, tmp_path) == b"grub-i386-xen_pvh.bin 2.12-1"


def test_an_installed_package_will_do(apt: AptRepository, tmp_path: Path) -> None:
    installed = tmp_path / "usr/lib/grub-xen"
    installed.mkdir(parents=True)
    (installed / GrubImage.PV).write_bytes(b"installed")
    assert found(GrubImage.PV, tmp_path) == b"installed"


def test_a_package_without_the_images_leaves_nothing(apt: AptRepository, tmp_path: Path) -> None:
    publish(apt, "2.07-1", (GrubImage.PV,))
    with pytest.raises(BuildError, match=r"grub-xen-host 2\.07-1 has no grub-i386-xen_pvh\.bin"):
        fetch_grub(lambda _: None)
    assert list((tmp_path / "cache" / "grub").iterdir()) == []


def test_the_program_says_where_they_are(
    apt: AptRepository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([]) == 0
    paths = capsys.readouterr().out.split()
    assert paths == [str(tmp_path / "cache" / "grub" / image) for image in GrubImage]
