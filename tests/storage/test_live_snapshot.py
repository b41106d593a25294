"""Snapshots of a VHD in use that keeps its name: the whole disk is there at any moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from disk_model import create_dynamic, create_fixed, pattern, read, write

from xenolith.storage import live_snapshot
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import snapshot

SIZE = 8 << 20


class Disk:
    """An image in use and the file that is to become its leaf."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk.vhd"
        self.kept = directory / "kept.vhd"
        self.temporary = directory / "temporary"
        create_dynamic(self.path, SIZE)
        self.image = open_image(self.path, "vhd", writable=True)
        self.temporary.touch()
        opened = open_locked(self.temporary, Access.WRITE)
        self.child = ImageFile(opened.fd, str(self.path))

    def prepare(self) -> None:
        live_snapshot.prepare(self.image, self.child, str(self.kept))

    def rename(self) -> None:
        os.link(self.path, self.kept)
        os.rename(self.temporary, self.path)

    def switch(self) -> None:
        live_snapshot.switch(self.image, self.child, str(self.kept))

    def close(self) -> None:
        self.image.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def contents(path: Path) -> bytes:
    image = open_image(path, "vhd", writable=False)
    try:
        return read(image, 0, 3 * 4096)
    finally:
        image.close()


def put(image: LiveImage, block: int) -> bytes:
    data = pattern(4096, block)
    write(image, block * 4096, data)
    return data


def test_the_disk_keeps_its_name_and_the_past_gets_another(disk: Disk) -> None:
    before = put(disk.image, 0)
    disk.prepare()
    # What is written between the steps belongs to what is kept.
    meanwhile = put(disk.image, 1)
    disk.rename()
    disk.switch()
    after = put(disk.image, 2)
    assert read(disk.image, 0, 3 * 4096) == before + meanwhile + after
    assert contents(disk.kept) == before + meanwhile + bytes(4096)
    disk.close()
    assert contents(disk.path) == before + meanwhile + after


def test_clones_of_the_past_do_not_disturb(disk: Disk, tmp_path: Path) -> None:
    before = put(disk.image, 0)
    disk.prepare()
    disk.rename()
    disk.switch()
    snapshot(disk.kept, "vhd", tmp_path / "clone.vhd")
    clone = open_image(tmp_path / "clone.vhd", "vhd", writable=True)
    after = put(disk.image, 1)
    put(clone, 2)
    clone.close()
    disk.close()
    assert contents(disk.path) == before + after + bytes(4096)
    assert contents(tmp_path / "clone.vhd") == before + bytes(4096) + pattern(4096, 2)


@pytest.mark.parametrize("renamed", [False, True])
def test_nothing_is_lost_when_it_ends_half_way(disk: Disk, renamed: bool) -> None:
    before = put(disk.image, 0)
    disk.prepare()
    if renamed:
        disk.rename()
    meanwhile = put(disk.image, 1)
    disk.close()
    disk.child.close()
    os.utime(disk.kept if renamed else disk.path, (2e9, 2e9))
    assert contents(disk.path) == before + meanwhile + bytes(4096)


def test_fixed_disks_and_readers_have_none(tmp_path: Path) -> None:
    path = create_fixed(tmp_path / "fixed.vhd", SIZE)
    for writable in (True, False):
        image = open_image(path, "vhd", writable=writable)
        with pytest.raises(ImageError, match="no dynamic VHD"):
            live_snapshot.prepare(image, image.files[0], "/kept")
        image.close()
