"""Block devices as raw images, as parents, and as what is converted to; loop devices stand in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk_model import MIB, SECTOR, create_child, create_dynamic, pattern, read, write

from xenolith.storage.convert import Target, convert
from xenolith.storage.errors import ImageError
from xenolith.storage.open import open_image

SIZE = 8 * MIB


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A device full of data."""
    backing = tmp_path / "backing"
    backing.write_bytes(pattern(SIZE, 1))
    try:
        shown = subprocess.run(
            ["losetup", "--find", "--show", backing], check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make loop devices")
    yield Path(shown.strip())
    subprocess.run(["losetup", "--detach", shown.strip()], check=True)


def test_a_device_is_an_image(device: Path) -> None:
    image = open_image(device, "raw", writable=True)
    assert image.size == SIZE
    model = bytearray(pattern(SIZE, 1))
    write(image, MIB, pattern(MIB, 2))
    model[MIB : 2 * MIB] = pattern(MIB, 2)
    for offset, length in ((3 * MIB, MIB), (5 * MIB + SECTOR, 3 * SECTOR)):
        image.write_zeroes(offset, length)
        model[offset : offset + length] = bytes(length)
    image.flush()
    assert read(image, 0, SIZE) == model
    image.discard(7 * MIB, MIB)
    image.discard(6 * MIB + SECTOR, SECTOR)
    assert read(image, 0, 6 * MIB) == model[: 6 * MIB]
    with pytest.raises(ImageError, match="in use"):
        open_image(device, "raw", writable=False)
    image.close()


def test_a_device_is_a_parent(tmp_path: Path, device: Path) -> None:
    child = create_child(tmp_path / "child", device, raw=True)
    # The time of its node, which is made anew when the host boots, means nothing.
    os.utime(device, (1, 1))
    image = open_image(child, "vhd", writable=True)
    assert read(image, 0, SIZE) == pattern(SIZE, 1)
    image.close()


def test_an_image_is_written_to_a_device(tmp_path: Path, device: Path) -> None:
    path = create_dynamic(tmp_path / "disk", 6 * MIB)
    image = open_image(path, "vhd", writable=True)
    write(image, MIB, pattern(MIB, 2))
    image.close()
    convert(path, "vhd", device, Target.RAW)
    image = open_image(device, "raw", writable=False)
    expected = bytes(MIB) + pattern(MIB, 2) + bytes(4 * MIB) + pattern(2 * MIB, 1)
    assert read(image, 0, SIZE) == expected
    image.close()
    with pytest.raises(ImageError, match="exists already"):
        convert(path, "vhd", device, Target.DYNAMIC)
    large = create_dynamic(tmp_path / "large", 9 * MIB)
    with pytest.raises(ImageError, match="9437184 are needed"):
        convert(large, "vhd", device, Target.RAW)
