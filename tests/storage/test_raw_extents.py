"""Raw images tell data from holes, without gaps, whatever the file system knows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.storage.image import SECTOR_SIZE, Extent
from xenolith.storage.live import LiveImage
from xenolith.storage.open import open_image

BLOCK = 64 << 10
"""A granularity that every file system tells apart."""
BLOCKS = 16


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveImage]:
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    with path.open("wb") as file:
        for block in (0, 1, 5, 15):
            file.seek(block * BLOCK)
            file.write(os.urandom(BLOCK))
        # The image ends with a sector that the file only begins.
        file.write(b"end")
    image = open_image(path, "raw", writable=False)
    assert isinstance(image, LiveImage)
    yield image
    image.close()


def test_data_and_holes_are_told_apart(image: LiveImage) -> None:
    extents = list(image.extents(0, image.size))
    assert extents == [
        Extent(2 * BLOCK, allocated=True, zero=False),
        Extent(3 * BLOCK, allocated=False, zero=True),
        Extent(BLOCK, allocated=True, zero=False),
        Extent(9 * BLOCK, allocated=False, zero=True),
        Extent(BLOCK + SECTOR_SIZE, allocated=True, zero=False),
    ]


@given(st.integers(0, BLOCKS * BLOCK // SECTOR_SIZE), st.integers(1, BLOCKS * BLOCK // SECTOR_SIZE))
def test_every_range_is_described_without_gaps(image: LiveImage, start: int, count: int) -> None:
    offset = start * SECTOR_SIZE
    length = min(count * SECTOR_SIZE, image.size - offset)
    extents = list(image.extents(offset, length))
    assert sum(extent.length for extent in extents) == length
    assert all(extent.length > 0 and extent.length % SECTOR_SIZE == 0 for extent in extents)
    for extent in extents:
        data = memoryview(bytearray(extent.length))
        image.readv([data], offset)
        assert any(data) is not extent.zero
        offset += extent.length
