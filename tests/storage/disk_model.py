"""Helpers of the storage tests: images beside a byte array that says what they should hold."""

from __future__ import annotations

import random
from pathlib import Path

from xenolith.storage.image import Image
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import new_file, open_locked
from xenolith.storage.open import open_image
from xenolith.storage.vhd.create import (
    raw_parent,
    vhd_parent,
    write_differencing,
    write_dynamic,
    write_fixed,
)

MIB = 1 << 20
SECTOR = 512


def create_dynamic(path: Path, size: int, block_size: int = 2 * MIB) -> Path:
    with new_file(path) as file:
        write_dynamic(file, size, block_size)
    return path


def create_fixed(path: Path, size: int) -> Path:
    with new_file(path) as file:
        write_fixed(file, size)
    return path


def create_child(path: Path, parent: Path, block_size: int = 2 * MIB, raw: bool = False) -> Path:
    opened = open_locked(parent, Access.READ)
    try:
        with new_file(path) as file:
            identity = raw_parent(opened) if raw else vhd_parent(opened)
            write_differencing(file, identity, block_size)
    finally:
        opened.close()
    return path


def read(image: Image, offset: int, length: int) -> bytes:
    data = bytearray(b"?" * length)
    image.readv([memoryview(data)], offset)
    return bytes(data)


def contents(path: Path, image_format: str = "vhd") -> bytes:
    """All that the disk of an image holds."""
    image = open_image(path, image_format, writable=False)
    try:
        return read(image, 0, image.size)
    finally:
        image.close()


def write(image: Image, offset: int, data: bytes) -> None:
    image.writev([memoryview(data)], offset)


def pattern(length: int, seed: int) -> bytes:
    """Bytes without a zero sector, and quickly made."""
    return random.Random(seed).randbytes(SECTOR) * (length // SECTOR)
