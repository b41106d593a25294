"""Guests from packages, fetched by an apt whose repository the tests fill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xenolith.builder.assets import Assets
from xenolith.builder.errors import BuildError
from xenolith.cli import assets as program

from .apt_repository import AptRepository
from .archive import read_archive

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is absent")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptRepository:
    repository = AptRepository(tmp_path / "apt")
    monkeypatch.setenv("PATH", f"{repository.bin}:{os.environ['PATH']}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    repository.publish_kernel("6.1.0-1-cloud-amd64")
    repository.publish_busybox()
    repository.refresh()
    return repository


@pytest.fixture
def init(tmp_path: Path) -> Path:
    return Path(shutil.copytree(program.INIT, tmp_path / "init"))


@pytest.fixture
def assets(tmp_path: Path, init: Path) -> Assets:
    return Assets(init, lambda _: None, tmp_path / "cache" / "guest")


def kept(assets: Assets, directory: str) -> list[str]:
    return sorted(path.name for path in (assets.directory / directory).iterdir())


def test_a_guest_has_the_kernel_and_a_ramdisk_with_its_modules(
    apt: AptRepository, assets: Assets
) -> None:
    guest = assets.ensure("cloud")
    assert guest.kernel == assets.directory / "cloud" / "vmlinuz"
    assert guest.kernel.read_bytes() == b"kernel 6.1.0-1-cloud-amd64"
    assert guest.ramdisk == assets.directory / "cloud" / "initramfs"
    entries = read_archive(guest.ramdisk.read_bytes())
    assert entries["bin/busybox"].data == b"\x7fELF busybox"
    assert "lib/modules/6.1.0-1-cloud-amd64/kernel/fs/ext4/ext4.ko" in entries
    assert not list(assets.directory.rglob("large.ko"))


def test_a_guest_that_is_there_needs_no_apt(apt: AptRepository, assets: Assets) -> None:
    first = assets.ensure("cloud")
    before = first.ramdisk.stat()
    apt.calls()
    assert assets.ensure("cloud") == first
    assert apt.calls() == []
    assert first.ramdisk.stat() == before


def test_a_changed_init_makes_a_new_ramdisk_without_apt(
    apt: AptRepository, assets: Assets, init: Path
) -> None:
    guest = assets.ensure("cloud")
    apt.calls()
    (init / "init").write_bytes(b"#!/bin/sh\necho changed\n")
    assets.ensure("cloud")
    assert apt.calls() == []
    assert read_archive(guest.ramdisk.read_bytes())["init"].data == b"#!/bin/sh\necho changed\n"


def test_an_update_replaces_the_old_kernel(apt: AptRepository, assets: Assets) -> None:
    guest = assets.ensure("cloud")
    apt.publish_kernel("6.12.0-2-cloud-amd64", modules_root="usr/lib/modules")
    apt.refresh()
    assert assets.ensure("cloud").kernel.read_bytes() == b"kernel 6.1.0-1-cloud-amd64"
    assert assets.update("cloud") == guest
    assert guest.kernel.read_bytes() == b"kernel 6.12.0-2-cloud-amd64"
    packages = [name.split("_")[0] for name in kept(assets, "packages")]
    assert packages == ["busybox-static", "linux-image-6.12.0-2-cloud-amd64"]
    assert len(kept(assets, "ramdisks")) == 1
    assert not [call for call in apt.calls() if call == "apt-get download busybox-static=1:1.35"][
        1:
    ]


def test_what_a_killed_process_left_behind_goes(apt: AptRepository, assets: Assets) -> None:
    leftover = assets.directory / "fetching-12345"
    (leftover / "root").mkdir(parents=True)
    assets.ensure("cloud")
    assert not leftover.exists()


def test_a_release_with_merged_usr(apt: AptRepository, assets: Assets) -> None:
    (apt.root / "server" / "busybox-static=1:1.35.deb").unlink()
    shutil.rmtree(apt.root / "tree" / "busybox-static")
    apt.publish_busybox("usr/bin/busybox")
    entries = read_archive(assets.ensure("cloud").ramdisk.read_bytes())
    assert entries["bin/busybox"].data == b"\x7fELF busybox"


def test_a_kernel_in_several_packages(apt: AptRepository, assets: Assets) -> None:
    shutil.rmtree(apt.root / "tree" / "linux-image-cloud-amd64")
    apt.publish_split_kernel("7.2.0+deb14-cloud-amd64")
    apt.refresh()
    guest = assets.ensure("cloud")
    assert guest.kernel.read_bytes() == b"kernel 7.2.0+deb14-cloud-amd64"
    entries = read_archive(guest.ramdisk.read_bytes())
    assert "lib/modules/7.2.0+deb14-cloud-amd64/kernel/fs/ext4/ext4.ko" in entries


def test_a_failed_download_is_explained_and_leaves_nothing(
    apt: AptRepository, assets: Assets
) -> None:
    (apt.root / "server" / "busybox-static=1:1.35.deb").unlink()
    with pytest.raises(BuildError, match=r"apt could not fetch busybox-static 1:1\.35"):
        assets.ensure("cloud")
    assert not (assets.directory / "cloud").exists()
    assert not list(assets.directory.glob("fetching-*"))


def test_without_lists_the_user_is_told_to_refresh_them(apt: AptRepository, assets: Assets) -> None:
    shutil.rmtree(apt.root / "lists")
    with pytest.raises(BuildError, match="knows no package linux-image-cloud-amd64: refresh"):
        assets.ensure("cloud")


def test_without_lists_root_refreshes_them(
    apt: AptRepository, assets: Assets, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (apt.root / "lists").iterdir():
        path.unlink()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert assets.ensure("cloud").kernel.exists()
    calls = apt.calls()
    assert calls.count("apt-get update") == 1
    assert "apt-get -o APT::Sandbox::User=root download busybox-static=1:1.35" in calls


def test_without_apt_the_user_is_told_what_else_to_do(
    assets: Assets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(BuildError, match="there is no apt: use a kernel and a ramdisk of your own"):
        assets.ensure("cloud")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"boot/config": b""}, r"holds 0 files boot/vmlinuz-\*"),
        ({"boot/vmlinuz-1": b"kernel"}, r"holds 0 files lib/modules/\* or usr/lib/modules/\*"),
    ],
)
def test_a_kernel_package_without_its_parts_is_refused(
    files: dict[str, bytes], message: str, apt: AptRepository, assets: Assets
) -> None:
    apt.publish("linux-image-9", "1", files)
    apt.publish("linux-image-cloud-amd64", "9", {}, "linux-image-9 (= 1)")
    apt.refresh()
    with pytest.raises(BuildError, match=message):
        assets.ensure("cloud")


def test_a_metapackage_without_a_kernel_is_refused(apt: AptRepository, assets: Assets) -> None:
    apt.publish("linux-image-cloud-amd64", "9", {}, "linux-base")
    apt.refresh()
    with pytest.raises(BuildError, match="linux-image-cloud-amd64 depends on no kernel"):
        assets.ensure("cloud")


def test_a_missing_init_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no guest init in .*nowhere"):
        Assets(tmp_path / "nowhere", lambda _: None)


def test_an_unwritable_cache_is_named(apt: AptRepository, init: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assets = Assets(init, lambda _: None, tmp_path / "file" / "guest")
    with pytest.raises(BuildError, match="guest cannot be written: Not a directory"):
        assets.ensure("cloud")


def test_an_interrupt_leaves_nothing_half_made(apt: AptRepository, tmp_path: Path) -> None:
    apt_get = apt.bin / "apt-get"
    apt_get.write_text('#!/bin/sh\ntouch half.deb\nkill -INT "$PPID"\nexec sleep 60\n')
    cache = tmp_path / "cache"
    run = subprocess.run(
        [sys.executable, "-m", "xenolith.cli.assets", "cloud"],
        env={**os.environ, "XENOLITH_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 128 + signal.SIGINT, run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in (cache / "guest").iterdir()) == ["lock", "packages"]
    assert list((cache / "guest" / "packages").iterdir()) == []


@pytest.fixture
def run(apt: AptRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("XENOLITH_CACHE_DIR", str(tmp_path / "cache"))
    return lambda *arguments: program.main([str(argument) for argument in arguments])


def test_the_program_prints_lines_for_an_xl_cfg(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cloud") == 0
    guest = tmp_path / "cache" / "guest" / "cloud"
    out = capsys.readouterr()
    assert out.out.splitlines()[1:] == [
        f'kernel = "{guest}/vmlinuz"',
        f'ramdisk = "{guest}/initramfs"',
    ]
    assert "Fetching busybox-static 1:1.35" in out.err


def test_the_program_links_guests_into_a_directory(run: Callable[..., int], tmp_path: Path) -> None:
    directory = tmp_path / "examples" / "guest"
    for _ in range(2):
        assert run("cloud", "--link-into", directory) == 0
    assert (directory / "cloud" / "vmlinuz").read_bytes() == b"kernel 6.1.0-1-cloud-amd64"
    assert [path.name for path in directory.iterdir()] == ["cloud"]


def test_a_file_in_the_place_of_a_link_is_left_alone(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloud").write_text("precious")
    assert run("cloud", "--link-into", tmp_path) == 1
    assert (tmp_path / "cloud").read_text() == "precious"
    assert "cloud is in the way" in capsys.readouterr().err


def test_a_link_that_cannot_be_followed_is_replaced(
    run: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "cloud").symlink_to("x" * 300)
    assert run("cloud", "--link-into", tmp_path) == 0
    assert (tmp_path / "cloud" / "vmlinuz").exists()


def test_the_program_makes_all_flavours_unless_told_which(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    out = capsys.readouterr()
    assert "# cloud" in out.out
    assert "Error: apt knows no package linux-image-amd64" in out.err


def test_the_example_domain_names_the_files_that_are_linked() -> None:
    text = (Path(__file__).parents[2] / "examples" / "debian.cfg").read_text()
    assert 'kernel = "guest/cloud/vmlinuz"' in text
    assert 'ramdisk = "guest/cloud/initramfs"' in text
    assert "cloud --link-into examples/guest" in text
