"""Vectors of buffers as the system takes them: files read and write them, others see views."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.storage.file import ImageFile
from xenolith.storage.vector import Cutter, IoVector, advance, fill_zeroes, is_zero, total

SIZE = 1 << 16

Parts = list[tuple[int, int]]
PARTS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 20)).map(lambda part: (part[0] * 512, part[1])),
    min_size=1,
    max_size=12,
)


class Memory:
    """Some bytes, and vectors of parts of them: (start, length)."""

    def __init__(self) -> None:
        self.bytes = bytearray(os.urandom(SIZE))
        self._kept: list[object] = []

    def vector(self, parts: Parts) -> IoVector:
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        words = [word for start, length in parts for word in (base + start, length)]
        structs = (ctypes.c_uint64 * len(words))(*words)
        self._kept.append(structs)
        length = sum(length for _, length in parts)
        return IoVector(ctypes.addressof(structs), len(parts), length, memoryview(self.bytes))

    def content(self, parts: Parts) -> bytes:
        return b"".join(self.bytes[start : start + length] for start, length in parts)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[ImageFile]:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    made = ImageFile(os.open(path, os.O_RDWR), str(path))
    yield made
    made.close()


@given(parts=PARTS)
def test_it_is_a_list_of_views(parts: Parts) -> None:
    memory = Memory()
    for vector in (memory.vector(parts), memory.vector(parts).copy()):
        assert (len(vector), total(vector)) == (len(parts), sum(length for _, length in parts))
        assert b"".join(vector) == memory.content(parts)
        assert bytes(vector[-1]) == memory.content(parts[-1:])
        assert list(map(bytes, vector[1:])) == [memory.content([part]) for part in parts[1:]]


def test_to_go_through_it_is_to_make_each_view_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    vector = memory.vector([(512 * part, 512) for part in range(100)])
    made = 0
    make_views = IoVector._views

    def counted(self: IoVector) -> list[memoryview]:
        nonlocal made
        made += 1
        return make_views(self)

    monkeypatch.setattr(IoVector, "_views", counted)
    assert len([*vector]) == 100
    assert made == 1


@given(parts=PARTS, data=st.data())
def test_parts_of_it_are_cut_off(parts: Parts, data: st.DataObject) -> None:
    memory = Memory()
    vector, content = memory.vector(parts), memory.content(parts)
    at = data.draw(st.integers(0, len(content)))
    cutter = Cutter(vector)
    assert b"".join(cutter.take(at)) == content[:at]
    assert b"".join(cutter.take(len(content) - at)) == content[at:]
    assert b"".join(advance(vector, at)) == content[at:]


def test_zeroes_are_put_in_and_found() -> None:
    memory = Memory()
    vector = memory.vector([(512, 512), (4096, 1024)])
    assert not is_zero(vector)
    fill_zeroes(vector)
    assert is_zero(vector)
    assert memory.bytes.count(0) < SIZE // 2


def test_a_copy_outlives_what_it_was_copied_from() -> None:
    memory = Memory()
    vector = memory.vector([(0, 512), (2048, 512)])
    copy = vector.copy()
    ctypes.memset(vector.address, 0, 32)
    assert b"".join(copy) == memory.content([(0, 512), (2048, 512)])


def test_files_write_it_and_read_it(file: ImageFile) -> None:
    memory = Memory()
    parts = [(8192, 4096), (512, 1024), (4096, 512)]
    file.writev(memory.vector(parts), 1000)
    assert file.read(1000, 5632) == memory.content(parts)
    wanted = file.read(20000, 5632)
    assert file.readv(memory.vector(parts), 20000) == 5632
    assert memory.content(parts) == wanted


def test_what_is_in_the_page_cache_is_read_at_once(file: ImageFile) -> None:
    memory = Memory()
    wanted = file.read(0, 1024)
    vector = memory.vector([(0, 512), (4096, 512)])
    # Some file systems cannot tell what they have there.
    if file.readv_nowait(vector, 0):
        assert memory.content([(0, 512), (4096, 512)]) == wanted
    assert not file.readv_nowait(vector, SIZE - 512)


def test_a_file_that_ends_before_fills_what_there_is(file: ImageFile) -> None:
    memory = Memory()
    parts = [(0, 512), (4096, 512)]
    end = memory.content([(4096 + 200, 312)])
    assert file.readv(memory.vector(parts), SIZE - 712) == 712
    assert memory.content([(0, 512), (4096, 200)]) == file.read(SIZE - 712, 712)
    assert memory.content([(4096 + 200, 312)]) == end
    assert file.readv(memory.vector(parts), SIZE) == 0


def test_errors_of_the_system_are_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(512))
    file = ImageFile(os.open(tmp_path / "file", os.O_RDONLY), "file")
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.writev(Memory().vector([(0, 512)]), 0)
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.readv(Memory().vector([(0, 512)]), 0)
