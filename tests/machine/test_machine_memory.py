"""The memory file against plain bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.machine.address import PAGE_SIZE, GuestPhys, Mfn, gfn_of
from xenolith.machine.memory import MachineMemory

FRAMES = 4
BYTES = FRAMES * PAGE_SIZE


def test_new_memory_is_zero_and_as_long_as_its_frames() -> None:
    memory = MachineMemory(FRAMES)
    assert (memory.frames, memory.size) == (FRAMES, BYTES)
    assert memory.read(0, BYTES) == bytes(BYTES)


def test_the_file_and_the_view_are_the_same_memory() -> None:
    memory = MachineMemory(FRAMES)
    memory.write(5000, b"through the view")
    assert os.pread(memory.fd, 16, 5000) == b"through the view"
    os.pwrite(memory.fd, b"through the file", 9000)
    assert memory.read(9000, 16) == b"through the file"


def test_the_memory_may_be_larger_than_the_host() -> None:
    memory = MachineMemory(1 << 26)
    memory.write(memory.size - 4, b"last")
    assert memory.read(memory.size - 5, 5) == b"\0last"
    assert os.fstat(memory.fd).st_blocks * 512 <= 1 << 20


@given(st.integers(-10, BYTES + 10), st.integers(-10, BYTES + 10))
def test_access_outside_is_an_error_and_inside_is_none(address: int, size: int) -> None:
    memory = SHARED
    if 0 <= address <= address + size <= BYTES and size >= 0:
        assert len(memory.read(address, size)) == size
        return
    with pytest.raises(IndexError):
        memory.read(address, size)


@given(st.integers(-10, BYTES + 10), st.binary(max_size=64))
def test_write_stores_all_or_nothing(address: int, data: bytes) -> None:
    memory = SHARED
    before = memory.read(0, BYTES)
    if 0 <= address <= BYTES - len(data):
        memory.write(address, data)
        assert memory.read(0, BYTES) == before[:address] + data + before[address + len(data) :]
        return
    with pytest.raises(IndexError):
        memory.write(address, data)
    assert memory.read(0, BYTES) == before


@pytest.mark.parametrize("mfn", [-1, FRAMES])
def test_there_are_no_frames_outside(mfn: int) -> None:
    memory = MachineMemory(FRAMES)
    with pytest.raises(IndexError):
        memory.frame(Mfn(mfn))
    with pytest.raises(IndexError):
        memory.discard(Mfn(mfn))


def test_discarded_frames_read_as_zero_and_their_neighbours_stay() -> None:
    memory = MachineMemory(FRAMES)
    memory.write(0, b"\xaa" * BYTES)
    memory.discard(Mfn(1), 2)
    assert memory.read(0, PAGE_SIZE) == b"\xaa" * PAGE_SIZE
    assert memory.read(PAGE_SIZE, 2 * PAGE_SIZE) == bytes(2 * PAGE_SIZE)
    assert memory.read(3 * PAGE_SIZE, PAGE_SIZE) == b"\xaa" * PAGE_SIZE


def test_discarding_beyond_the_end_is_an_error() -> None:
    with pytest.raises(IndexError):
        MachineMemory(FRAMES).discard(Mfn(3), 2)


@given(st.integers(0, (1 << 52) - 1))
def test_gfn_of_an_address(address: int) -> None:
    assert gfn_of(GuestPhys(address)) * PAGE_SIZE + address % PAGE_SIZE == address


SHARED = MachineMemory(FRAMES)


def test_load_copies_from_a_file_and_tells_where_that_ends(tmp_path: Path) -> None:
    memory = MachineMemory(8)
    data = os.urandom(3 * PAGE_SIZE)
    (tmp_path / "file").write_bytes(data)
    with open(tmp_path / "file", "rb") as file:
        assert memory.load(PAGE_SIZE + 5, file.fileno(), 7, 2 * PAGE_SIZE) == 2 * PAGE_SIZE
        assert memory.read(PAGE_SIZE + 5, 2 * PAGE_SIZE) == data[7 : 7 + 2 * PAGE_SIZE]
        assert memory.read(3 * PAGE_SIZE + 5, PAGE_SIZE) == bytes(PAGE_SIZE)
        assert memory.load(0, file.fileno(), 2 * PAGE_SIZE, 2 * PAGE_SIZE) == PAGE_SIZE
        with pytest.raises(IndexError):
            memory.load(7 * PAGE_SIZE, file.fileno(), 0, PAGE_SIZE + 1)


def test_load_leaves_frames_below_holes_of_the_file_alone(tmp_path: Path) -> None:
    size = 64 * PAGE_SIZE
    memory = MachineMemory(64)
    with open(tmp_path / "sparse", "wb+") as file:
        for page in (3, 40):
            os.pwrite(file.fileno(), b"x" * PAGE_SIZE, page * PAGE_SIZE)
        file.truncate(size)
        assert memory.load(0, file.fileno(), 0, size) == size
        # To read a frame makes it.
        assert os.fstat(memory.fd).st_blocks * 512 == 2 * PAGE_SIZE
        assert memory.read(0, size) == (tmp_path / "sparse").read_bytes()
        assert memory.load(0, file.fileno(), 50 * PAGE_SIZE, size) == 14 * PAGE_SIZE
