"""Packed kernels, sound and damaged: bzImages of every packing, and files packed by gzip."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.builder.errors import BuildError
from xenolith.builder.packed_kernel import find_payload, is_packed, unpack_kernel

from .images import LZ4_BLOCK, PACKERS, bzimage, image_of


def unpack(data: bytes) -> bytes:
    destination = os.memfd_create("test-kernel")
    try:
        with image_of(data, "vmlinuz") as image:
            unpack_kernel(image, destination)
        return os.pread(destination, 1 << 26, 0)
    finally:
        os.close(destination)


@pytest.mark.parametrize("packer", PACKERS)
@given(content=st.binary(min_size=8, max_size=4096))
def test_unpacks_what_was_packed(packer: str, content: bytes) -> None:
    assert unpack(bzimage(PACKERS[packer](content))) == content


@given(content=st.binary(min_size=8, max_size=4096))
def test_unpacks_a_file_of_gzip(content: bytes) -> None:
    data = gzip.compress(content)
    with image_of(data, "mini-os.gz") as image:
        assert is_packed(image)
    assert unpack(data) == content


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-9], "damaged|MiB is the limit"),
        (lambda data: data[:-4] + bytes(4), "damaged"),
        (lambda data: data[:-1] + b"\xff", "MiB is the limit"),
        (lambda data: data[:10] + bytes(20) + data[10:], "damaged"),
    ],
)
def test_a_damaged_file_of_gzip_is_refused(damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        unpack(damage(gzip.compress(bytes(range(256)) * 64)))


def test_what_is_zero_in_a_kernel_takes_no_space() -> None:
    content = b"\x7fELF" + bytes(3 << 20) + b"end" + bytes(1 << 20)
    destination = os.memfd_create("test-kernel")
    try:
        with image_of(bzimage(PACKERS["gzip"](content)), "vmlinuz") as image:
            unpack_kernel(image, destination)
        assert os.pread(destination, 8 << 20, 0) == content
        assert os.fstat(destination).st_blocks * 512 <= 2 << 16
    finally:
        os.close(destination)


@pytest.mark.parametrize("packer", PACKERS)
def test_unpacks_a_kernel_of_several_blocks(packer: str) -> None:
    size = 2 * LZ4_BLOCK + 4096 if packer == "lz4" else 3 << 20
    content = b"\x7fELF" + bytes(range(256)) * (size >> 8)
    assert unpack(bzimage(PACKERS[packer](content))) == content


@pytest.mark.parametrize("packer", PACKERS)
def test_a_truncated_file_is_refused(packer: str) -> None:
    data = bzimage(PACKERS[packer](b"kernel" * 100))
    with pytest.raises(BuildError, match="vmlinuz is truncated"):
        unpack(data[:-20])


@pytest.mark.parametrize("packer", PACKERS)
def test_a_stream_that_ends_early_is_refused(packer: str) -> None:
    content = os.urandom(4096)
    payload = PACKERS[packer](content)
    cut = payload[: len(payload) // 2] + struct.pack("<I", len(content))
    with pytest.raises(BuildError, match="vmlinuz is damaged"):
        unpack(bzimage(cut))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_stream_larger_than_it_promises_is_refused(packer: str) -> None:
    payload = PACKERS[packer](bytes(1 << 20))
    with pytest.raises(BuildError, match="vmlinuz is damaged"):
        unpack(bzimage(payload[:-4] + struct.pack("<I", 4096)))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_in_little_memory(packer: str) -> None:
    payload = PACKERS[packer](bytes(64 << 20))
    bomb = bzimage(payload[:-4] + struct.pack("<I", 4096))
    del payload
    tracemalloc.start()
    try:
        with pytest.raises(BuildError, match="promises"):
            unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_an_absurd_promise_is_refused() -> None:
    payload = PACKERS["gzip"](b"kernel")[:-4] + struct.pack("<I", 0xFFFF_FFFF)
    with pytest.raises(BuildError, match="unpacks to 4095 MiB; 512 MiB is the limit"):
        unpack(bzimage(payload))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a Linux bzImage"),
        (b"\x7fELF" + bytes(1000), "is not a Linux bzImage"),
        (bzimage(b"12345678", version=0x207), "speaks boot protocol 2.07"),
        (bzimage(b"1234"), "holds no compressed kernel"),
        (bzimage(b"\x89LZO" + bytes(8)), "is packed in an unknown way"),
    ],
)
def test_other_files_are_named_and_refused(data: bytes, message: str) -> None:
    with pytest.raises(BuildError, match=f"vmlinuz {message}"):
        unpack(data)


def test_a_boot_sector_without_signature_is_refused() -> None:
    data = bytearray(bzimage(PACKERS["gzip"](b"kernel")))
    data[0x1FE] = 0
    with pytest.raises(BuildError, match="0xaa55"):
        unpack(bytes(data))


def test_zero_setup_sectors_mean_four() -> None:
    payload = PACKERS["gzip"](b"kernel")
    data = bytearray(bzimage(payload, setup_sects=4))
    data[0x1F1] = 0
    with image_of(bytes(data)) as image:
        assert is_packed(image)
        assert find_payload(image).offset == 5 * 512 + 16


@given(
    packer=st.sampled_from(sorted(PACKERS)),
    damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    length=st.integers(0, 2100),
)
def test_a_damaged_image_is_unpacked_or_refused(
    packer: str, damage: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(bzimage(PACKERS[packer](b"kernel text " * 40), setup_sects=1)[:length])
    for position, value in damage:
        if position < len(data):
            data[position] = value
    try:
        unpack(bytes(data))
    except BuildError as error:
        assert "vmlinuz" in str(error)


@given(packer=st.sampled_from(sorted(PACKERS)), data=st.data())
def test_a_damaged_payload_is_unpacked_or_refused(packer: str, data: st.DataObject) -> None:
    payload = bytearray(PACKERS[packer](b"kernel text " * 40))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(bzimage(bytes(payload)))
    except BuildError as error:
        assert "vmlinuz" in str(error)
