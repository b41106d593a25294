"""Snapshots, coalescing and resizing while requests go on."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import disk_model
import pytest
from disk_model import (
    MIB,
    SECTOR,
    contents,
    create_child,
    create_dynamic,
    create_fixed,
    pattern,
    read,
    write,
)

from xenolith.storage import changes
from xenolith.storage.errors import ImageError
from xenolith.storage.file import ImageFile
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import locate, open_image

BLOCK = 64 << 10
SIZE = 4 * MIB
SLOT = 8 * SECTOR


def empty_file(path: Path) -> ImageFile:
    path.touch(exist_ok=False)
    return open_file(path, Access.WRITE)


def writable(image: LiveImage, link: int) -> list[ImageFile]:
    return [open_file(file.name, Access.WRITE) for file in image.files[: link + 2]]


def chain(directory: Path, links: int, base: str = "dynamic") -> tuple[LiveImage, bytearray]:
    """A chain whose every link has some of the data."""
    model = bytearray(SIZE)
    path = directory / "0"
    if base == "dynamic":
        create_dynamic(path, SIZE, BLOCK)
    elif base == "fixed":
        create_fixed(path, SIZE)
    else:
        path.write_bytes(model)
    for link in range(links):
        image = open_image(path, "vhd" if link or base != "raw" else "raw", writable=True)
        for seed in range(20):
            offset = random.Random(link * 100 + seed).randrange(SIZE // SLOT) * SLOT
            data = pattern(SLOT, link * 100 + seed)
            write(image, offset, data)
            model[offset : offset + SLOT] = data
        image.close()
        if link < links - 1:
            parent, path = path, directory / str(link + 1)
            create_child(path, parent, BLOCK, raw=base == "raw" and link == 0)
    return open_image(path, "vhd" if links > 1 or base != "raw" else "raw", writable=True), model


@contextmanager
def guests(image: LiveImage, model: bytearray, count: int = 3) -> Iterator[None]:
    """Threads that write and read back, each its own slots, until the block ends."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(number: int) -> None:
        rng = random.Random(number)
        try:
            while not stop.is_set():
                slot = rng.randrange(SIZE // SLOT // count) * count + number
                offset = slot * SLOT
                assert read(image, offset, SLOT) == model[offset : offset + SLOT]
                data = rng.randbytes(SECTOR) * (SLOT // SECTOR)
                if rng.random() < 0.1:
                    data = bytes(SLOT)
                    image.write_zeroes(offset, SLOT)
                else:
                    write(image, offset, data)
                model[offset : offset + SLOT] = data
                if rng.random() < 0.02:
                    image.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert read(image, 0, SIZE) == model


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is written next have another modification time."""
    original = disk_model.create_child

    def create_child(path: Path, parent: Path, *args: Any, **options: Any) -> Path:
        os.utime(parent, (1_500_000_000, 1_500_000_000))
        return original(path, parent, *args, **options)

    monkeypatch.setattr(sys.modules[__name__], "create_child", create_child)


def reopened(path: str, image_format: str = "vhd") -> bytes:
    return contents(Path(path), image_format)


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
def test_a_snapshot_keeps_the_disk_as_it_was(tmp_path: Path, base: str) -> None:
    image, model = chain(tmp_path, 1, base)
    old = bytes(model)
    changes.snapshot(image, empty_file(tmp_path / "child"))
    write(image, 0, pattern(BLOCK, 7))
    model[:BLOCK] = pattern(BLOCK, 7)
    assert read(image, 0, SIZE) == model
    image.close()
    assert reopened(str(tmp_path / "child")) == model
    assert reopened(str(tmp_path / "0"), "raw" if base == "raw" else "vhd") == old


def test_snapshots_under_load(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 1)
    with guests(image, model):
        for number in range(5):
            changes.snapshot(image, empty_file(tmp_path / f"snapshot{number}"))
    assert len(image.files) == 6
    leaf = image.files[0].name
    image.close()
    assert reopened(leaf) == model


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
@pytest.mark.parametrize("link", [0, 1, 2])
def test_coalescing_under_load(tmp_path: Path, base: str, link: int) -> None:
    image, model = chain(tmp_path, 4, base)
    names = [file.name for file in image.files]
    with guests(image, model):
        changes.coalesce(image, link, writable(image, link))
    del names[link]
    assert [file.name for file in image.files] == names
    image.close()
    assert reopened(names[0]) == model


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
def test_the_only_child_is_coalesced_into_its_parent(tmp_path: Path, base: str) -> None:
    image, model = chain(tmp_path, 2, base)
    with guests(image, model):
        changes.coalesce(image, 0, writable(image, 0))
    assert [file.name for file in image.files] == [str(tmp_path / "0")]
    image.close()
    assert reopened(str(tmp_path / "0"), "raw" if base == "raw" else "vhd") == model
    # The child that is left over still shows the same disk.
    assert reopened(str(tmp_path / "1")) == model


def test_snapshots_and_coalescing_in_turns(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 1)
    with guests(image, model):
        for number in range(6):
            changes.snapshot(image, empty_file(tmp_path / f"snapshot{number}"))
            if number % 2:
                link = number // 2 % 2
                changes.coalesce(image, link, writable(image, link))
    leaf = image.files[0].name
    image.close()
    assert reopened(leaf) == model


def test_a_parent_that_others_use_is_left_alone(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 2)
    sibling = create_child(tmp_path / "sibling", tmp_path / "0")
    other = locate(sibling, "vhd", writable=False)
    files = writable(image, 0)
    with pytest.raises(ImageError, match="0 is in use"):
        changes.coalesce(image, 0, files)
    assert read(image, 0, SIZE) == model
    other.close()
    changes.coalesce(image, 0, files)
    assert read(image, 0, SIZE) == model
    image.close()


def test_only_a_link_with_a_parent_can_be_coalesced(tmp_path: Path) -> None:
    image, _ = chain(tmp_path, 3)
    for link, given, message in ((2, 1, "no file"), (-1, 0, "no file"), (0, 1, "not the files")):
        with pytest.raises(ImageError, match=message):
            changes.coalesce(image, link, writable(image, given))
    image.close()


def test_an_image_that_is_closed_is_coalesced_no_further(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 3)
    names = [file.name for file in image.files]
    files = writable(image, 0)
    begun = threading.Event()
    failures: list[ImageError] = []

    def progress(_done: int, _total: int) -> None:
        begun.set()
        while not image.closing:
            time.sleep(0.001)

    def coalesce() -> None:
        try:
            changes.coalesce(image, 0, files, progress)
        except ImageError as error:
            failures.append(error)

    thread = threading.Thread(target=coalesce)
    thread.start()
    assert begun.wait(10)
    image.close()
    thread.join(10)
    (failure,) = failures
    assert f"{names[0]} was closed" in str(failure)
    for file in files:
        file.close()
    assert reopened(names[0]) == model


def test_a_full_disk_leaves_the_image_in_use(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 2)
    files = writable(image, 0)
    # A descriptor that cannot be written stands for a disk that is full.
    broken = ImageFile(os.open(tmp_path / "0", os.O_RDONLY), str(tmp_path / "0"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        changes.coalesce(image, 0, [files[0], broken])
    with guests(image, model):
        pass
    changes.coalesce(image, 0, [files[0], files[1]])
    assert read(image, 0, SIZE) == model
    image.close()


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("sizes", [[2 * SIZE], [SIZE + SECTOR, 2 * SIZE]], ids=["once", "twice"])
def test_growing_under_load(tmp_path: Path, base: str, links: int, sizes: list[int]) -> None:
    image, model = chain(tmp_path, links, base)
    with guests(image, model):
        for size in sizes:
            changes.resize(image, size)
    assert image.size == 2 * SIZE
    assert read(image, SIZE, SIZE) == bytes(SIZE)
    write(image, 2 * SIZE - SECTOR, pattern(SECTOR, 5))
    image.close()
    path, image_format = image_path(tmp_path, links, base)
    assert reopened(path, image_format) == model + bytes(SIZE - SECTOR) + pattern(SECTOR, 5)


@pytest.mark.parametrize("base", ["dynamic", "fixed", "raw"])
def test_what_was_cut_off_does_not_come_back(tmp_path: Path, base: str) -> None:
    image, model = chain(tmp_path, 1, base)
    write(image, SIZE - MIB, pattern(MIB, 3))
    small = SIZE - MIB + 3 * SECTOR
    changes.resize(image, small)
    assert image.size == small
    changes.resize(image, SIZE)
    expected = model[: SIZE - MIB] + pattern(3 * SECTOR, 3) + bytes(MIB - 3 * SECTOR)
    assert read(image, 0, SIZE) == expected
    image.close()
    assert reopened(*image_path(tmp_path, 1, base)) == expected


def test_a_larger_child_is_coalesced(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 2)
    changes.resize(image, 2 * SIZE)
    write(image, 2 * SIZE - MIB, pattern(MIB, 3))
    changes.coalesce(image, 0, writable(image, 0))
    image.close()
    assert reopened(str(tmp_path / "0")) == model + bytes(SIZE - MIB) + pattern(MIB, 3)


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    image, model = chain(tmp_path, 2)
    for size, message in (
        (SIZE - SECTOR, "can only be made larger"), (1000, "whole sectors"), (0, "whole sectors"),
        (2041 << 30, "2040 GiB"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=message):
            changes.resize(image, size)
    assert read(image, 0, SIZE) == model
    image.close()


def image_path(directory: Path, links: int, base: str) -> tuple[str, str]:
    return str(directory / str(links - 1)), "raw" if links == 1 and base == "raw" else "vhd"
