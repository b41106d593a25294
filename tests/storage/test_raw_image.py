"""Raw images: what is written is read, holes are holes, and nobody opens an image twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.storage.errors import ImageError
from xenolith.storage.live import LiveImage
from xenolith.storage.open import image_from, locate, open_image
from xenolith.storage.vector import Cutter, advance, fill_zeroes, is_zero, total

SIZE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.fixture
def image(path: Path) -> Iterator[LiveImage]:
    image = open_image(path, "raw", writable=True)
    assert isinstance(image, LiveImage)
    yield image
    image.close()


def buffers(*lengths: int) -> list[memoryview]:
    return [memoryview(bytearray(os.urandom(length))) for length in lengths]


def read(image: LiveImage, offset: int, length: int) -> bytes:
    data = bytearray(b"?" * length)
    image.readv([memoryview(data)], offset)
    return bytes(data)


def test_what_is_written_is_read(image: LiveImage) -> None:
    written = buffers(512, 4096, 1024)
    image.writev(written, 1536)
    assert read(image, 1024, 6656) == bytes(512) + b"".join(written) + bytes(512)


def test_more_buffers_than_linux_takes_at_once(image: LiveImage) -> None:
    written = buffers(*[512] * 2048)
    image.writev(written, 0)
    taken = [memoryview(bytearray(512)) for _ in range(2048)]
    image.readv(taken, 0)
    assert taken == written
    assert not image.readv_nowait(taken, 0)


def test_a_read_that_does_not_wait_is_right_or_refused(image: LiveImage) -> None:
    (written,) = buffers(8192)
    image.writev([written], 0)
    taken = memoryview(bytearray(8192))
    if image.readv_nowait([taken], 0):
        assert taken == written


def test_zeroes_free_what_was_allocated(image: LiveImage, path: Path) -> None:
    image.writev(buffers(SIZE), 0)
    image.flush()
    full = path.stat().st_blocks
    image.write_zeroes(4096, SIZE - 8192)
    assert read(image, 4096, SIZE - 8192) == bytes(SIZE - 8192)
    assert read(image, 0, 4096) != bytes(4096)
    assert path.stat().st_blocks < full / 4
    image.discard(0, SIZE)
    assert path.stat().st_blocks == 0
    assert image.size == path.stat().st_size == SIZE


def test_the_last_sector_is_padded(tmp_path: Path) -> None:
    path = tmp_path / "odd.raw"
    path.write_bytes(b"x" * 700)
    image = open_image(path, "raw", writable=False)
    assert isinstance(image, LiveImage)
    assert image.size == 1024
    assert read(image, 512, 512) == b"x" * 188 + bytes(324)
    image.close()


def test_growing_the_file_grows_the_image(image: LiveImage, path: Path) -> None:
    os.truncate(path, 2 * SIZE)
    assert image.size == 2 * SIZE


def test_a_read_only_image_is_not_changed(path: Path) -> None:
    image = open_image(path, "raw", writable=False)
    assert image.read_only
    changes: list[Callable[[], None]] = [
        lambda: image.writev(buffers(512), 0),
        lambda: image.write_zeroes(0, 512),
        lambda: image.discard(0, 512),
    ]
    for change in changes:
        with pytest.raises(OSError, match="Read-only"):
            change()
    image.close()


def test_a_closed_image_is_closed(image: LiveImage) -> None:
    image.close()
    image.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        read(image, 0, 512)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [(False, False, True), (False, True, False), (True, False, False), (True, True, False)],
    ids=["readers", "reader then writer", "writer then reader", "writers"],
)
def test_one_writer_or_many_readers(path: Path, first: bool, second: bool, together: bool) -> None:
    holder = locate(path, "raw", first)
    try:
        if together:
            locate(path, "raw", second).close()
        else:
            with pytest.raises(ImageError, match=f"{path.name} is in use by this process"):
                locate(path, "raw", second)
    finally:
        holder.close()
    locate(path, "raw", True).close()


def test_the_message_names_the_process_that_has_the_image(path: Path) -> None:
    code = f"""
import sys
from xenolith.storage.open import locate
locate({str(path)!r}, "raw", True)
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(ImageError, match=rf"is in use by process {holder.pid} \(python"):
            locate(path, "raw", False)
        holder.stdin.close()
        holder.wait()
    locate(path, "raw", False).close()


def test_a_lock_goes_where_the_descriptor_goes(path: Path) -> None:
    located = locate(path, "raw", True)
    copy = os.dup(located.files[0].fd)
    image_from(located.files, "raw", True).close()
    with pytest.raises(ImageError, match="in use"):
        locate(path, "raw", False)
    os.close(copy)
    locate(path, "raw", False).close()


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in (
        ("missing", "No such file"), ("fifo", "neither a file nor"), (".", "neither a file nor"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=message):
            locate(tmp_path / name, "raw", False)
    with pytest.raises(ImageError, match="'qcow3' is not a format"):
        locate(tmp_path / "missing", "qcow3", False)


LENGTHS = st.lists(st.integers(0, 40), max_size=8)


@given(LENGTHS, st.data())
def test_parts_of_vectors(lengths: list[int], data: st.DataObject) -> None:
    vector = buffers(*lengths)
    joined = b"".join(vector)
    assert total(vector) == len(joined)
    cutter = Cutter(vector)
    at = 0
    while at < len(joined):
        length = data.draw(st.integers(1, len(joined) - at))
        assert b"".join(advance(vector, at)) == joined[at:]
        assert b"".join(cutter.take(length)) == joined[at : at + length]
        at += length
    assert advance(vector, len(joined)) == []


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 65536, 65600, 200000])
def test_zeroes_are_told_from_data(length: int) -> None:
    vector = buffers(length, 512)
    assert not is_zero(vector)
    fill_zeroes(vector)
    assert is_zero(vector)
    for at in {0, length // 2, length - 1} if length else ():
        vector[0][at] = 1
        assert not is_zero(vector)
        vector[0][at] = 0
