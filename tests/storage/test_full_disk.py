"""The host's disk is full at any point: requests fail with ENOSPC, and nothing else is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from disk_model import SECTOR, create_child, create_dynamic, pattern, read, write

from xenolith.storage import changes
from xenolith.storage.convert import Target, convert
from xenolith.storage.live import LiveImage
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_file
from xenolith.storage.open import open_image
from xenolith.storage.snapshot import coalesce, snapshot
from xenolith.storage.vhd.check import check

BLOCK = 16 << 10
SIZE = 8 * BLOCK


@contextmanager
def full_after(writes: int) -> Iterator[None]:
    """Let all writes fail after so many."""
    pwritev = os.pwritev
    left = writes

    def limited(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= 1
        return pwritev(fd, buffers, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwritev", limited)
        yield


def sound(path: Path) -> bool:
    file = open_file(path, Access.READ)
    try:
        return check(file).is_sound
    finally:
        file.close()


def make(directory: Path) -> tuple[Path, bytearray]:
    model = bytearray(pattern(SIZE // 2, 1) + bytes(SIZE // 2))
    base = create_dynamic(directory / "base", SIZE, BLOCK)
    image = open_image(base, "vhd", writable=True)
    write(image, 0, bytes(model))
    image.close()
    child = create_child(directory / "child", base, BLOCK)
    image = open_image(child, "vhd", writable=True)
    write(image, 3 * SECTOR, pattern(BLOCK, 2))
    model[3 * SECTOR : 3 * SECTOR + BLOCK] = pattern(BLOCK, 2)
    image.close()
    return child, model


@pytest.mark.parametrize("writes", range(8))
def test_requests_fail_and_succeed_when_there_is_room_again(tmp_path: Path, writes: int) -> None:
    path, model = make(tmp_path)
    image = open_image(path, "vhd", writable=True)
    with full_after(writes):
        failures = 0
        for offset in (5 * BLOCK + SECTOR, 6 * BLOCK, 0):
            try:
                write(image, offset, pattern(BLOCK, 3))
                model[offset : offset + BLOCK] = pattern(BLOCK, 3)
                image.flush()
            except OSError as error:
                assert error.errno == errno.ENOSPC
                failures += 1
        assert failures or writes > 6
    for offset in (5 * BLOCK + SECTOR, 6 * BLOCK, 0):
        write(image, offset, pattern(BLOCK, 3))
        model[offset : offset + BLOCK] = pattern(BLOCK, 3)
    assert read(image, 0, SIZE) == model
    image.close()
    assert sound(path)
    image = open_image(path, "vhd", writable=True)
    assert read(image, 0, SIZE) == model
    image.close()


def do_snapshot(path: Path) -> None:
    snapshot(path, "vhd", path.with_name("new"))


def do_convert(path: Path) -> None:
    convert(path, "vhd", path.with_name("new"), Target.DYNAMIC)


def do_coalesce(path: Path) -> None:
    coalesce(str(path), [])


@pytest.mark.parametrize("operation", [do_snapshot, do_convert, do_coalesce])
def test_operations_leave_what_was_there(tmp_path: Path, operation: Callable[[Path], None]) -> None:
    for writes in range(100):
        directory = tmp_path / str(writes)
        directory.mkdir()
        path, model = make(directory)
        done = True
        with full_after(writes):
            try:
                operation(path)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                done = False
        assert sound(path)
        image = open_image(path, "vhd", writable=False)
        assert read(image, 0, SIZE) == model
        image.close()
        assert done or not (directory / "new").exists()
        if done:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("change", ["snapshot", "coalesce", "resize"])
def test_a_live_image_stays_in_use(tmp_path: Path, change: str) -> None:
    for writes in range(100):
        directory = tmp_path / str(writes)
        directory.mkdir()
        path, model = make(directory)
        image = open_image(path, "vhd", writable=True)
        done = True
        with full_after(writes):
            try:
                _change(image, change, directory)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                done = False
        write(image, 7 * BLOCK, pattern(BLOCK, 5))
        model[7 * BLOCK :] = pattern(BLOCK, 5)
        image.flush()
        assert read(image, 0, SIZE) == model
        leaf = image.files[0].name
        image.close()
        image = open_image(leaf, "vhd", writable=True)
        assert read(image, 0, SIZE) == model
        image.close()
        if done:
            return
    raise AssertionError("it never ends")


def _change(image: LiveImage, change: str, directory: Path) -> None:
    if change == "snapshot":
        (directory / "new").touch()
        changes.snapshot(image, open_file(directory / "new", Access.WRITE))
    elif change == "coalesce":
        files = [open_file(file.name, Access.WRITE) for file in image.files]
        changes.coalesce(image, 0, files)
    else:
        changes.resize(image, 1000 * SIZE)
