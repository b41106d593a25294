"""qemu-img reads what we write, and we read what it writes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from disk_model import MIB, SECTOR, create_child, create_dynamic, create_fixed, pattern, read, write

from xenolith.storage.convert import Target, convert
from xenolith.storage.lock import Access
from xenolith.storage.locked_file import open_locked
from xenolith.storage.open import open_image
from xenolith.storage.vhd.resize import resize

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-utils")

SIZE = 24 * MIB + 5 * SECTOR


def qemu_img(*arguments: str | Path) -> str:
    return subprocess.run(
        ["qemu-img", *arguments], check=True, capture_output=True, text=True
    ).stdout


def qemu_info(path: Path) -> Any:
    return json.loads(qemu_img("info", "--output=json", "-f", "vpc", path))


def as_qemu_reads(path: Path) -> bytes:
    raw = path.with_suffix(".qemu.raw")
    qemu_img("convert", "-f", "vpc", "-O", "raw", path, raw)
    return raw.read_bytes()


def fill(path: Path, size: int, seed: int = 1) -> bytearray:
    """Write here and there; return the contents."""
    model = bytearray(size)
    image = open_image(path, "vhd", writable=True)
    rng = random.Random(seed)
    for number in range(30):
        start = rng.randrange(size // SECTOR) * SECTOR
        data = pattern(min(rng.randrange(1, 500) * SECTOR, size - start), number)
        write(image, start, data)
        model[start : start + len(data)] = data
    image.close()
    return model


@pytest.mark.parametrize("create", [create_dynamic, create_fixed])
def test_qemu_reads_ours(tmp_path: Path, create: Any) -> None:
    path = create(tmp_path / "disk.vhd", SIZE)
    model = fill(path, SIZE)
    assert qemu_info(path)["virtual-size"] == SIZE
    assert as_qemu_reads(path) == model


@pytest.mark.parametrize("size", [SIZE + 3 * MIB, 2 * SIZE, 400 * MIB])
def test_qemu_reads_what_was_resized(tmp_path: Path, size: int) -> None:
    path = create_dynamic(tmp_path / "disk.vhd", SIZE)
    model = fill(path, SIZE)
    file = open_locked(path, Access.WRITE)
    resize(file, size)
    file.close()
    assert qemu_info(path)["virtual-size"] == size
    assert as_qemu_reads(path) == model + bytes(size - SIZE)


@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed"])
@pytest.mark.parametrize("force", ["on", "off"])
def test_we_read_qemus(tmp_path: Path, options: str, force: str) -> None:
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.vhd"
    model = bytearray(SIZE)
    model[MIB : 2 * MIB] = pattern(MIB, 1)
    model[-4096:] = pattern(4096, 2)
    raw.write_bytes(model)
    settings = f"{options},force_size={force}"
    qemu_img("convert", "-f", "raw", "-O", "vpc", "-o", settings, raw, path)
    image = open_image(path, "vhd", writable=False)
    # Without force_size QEMU rounds up to a size that has a geometry.
    assert image.size == qemu_info(path)["virtual-size"] >= SIZE
    assert read(image, 0, SIZE) == model
    image.close()


def test_qemu_writes_to_ours_and_we_to_its(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    qemu_img("create", "-f", "vpc", "-o", "force_size=on", path, str(SIZE))
    model = fill(path, SIZE)
    assert as_qemu_reads(path) == model
    script = ["-c", f"write -P 0x5a {6 * MIB} {3 * MIB}", "-c", "write -P 0x77 4096 512"]
    subprocess.run(["qemu-io", "-f", "vpc", *script, path], check=True, stdout=subprocess.DEVNULL)
    model[6 * MIB : 9 * MIB] = b"\x5a" * 3 * MIB
    model[4096:4608] = b"\x77" * 512
    image = open_image(path, "vhd", writable=True)
    assert read(image, 0, SIZE) == model
    image.close()


def test_a_flattened_chain_is_a_disk_for_qemu(tmp_path: Path) -> None:
    base = create_dynamic(tmp_path / "base.vhd", SIZE)
    model = fill(base, SIZE)
    child = create_child(tmp_path / "child.vhd", base)
    image = open_image(child, "vhd", writable=True)
    write(image, 0, pattern(MIB, 77))
    model[:MIB] = pattern(MIB, 77)
    image.close()
    for target in (Target.DYNAMIC, Target.FIXED):
        path = tmp_path / target
        convert(child, "vhd", path, target)
        assert as_qemu_reads(path) == model


def test_the_largest_disk(tmp_path: Path) -> None:
    size = 2040 << 30
    path = create_dynamic(tmp_path / "disk.vhd", size)
    image = open_image(path, "vhd", writable=True)
    write(image, size - MIB, pattern(MIB, 1))
    write(image, size // 2, pattern(MIB, 2))
    image.close()
    assert qemu_info(path)["virtual-size"] == size
    script = ["-c", f"read -v {size - SECTOR} {SECTOR}"]
    shown = subprocess.run(
        ["qemu-io", "-r", "-f", "vpc", *script, path], check=True, capture_output=True, text=True
    ).stdout
    assert pattern(SECTOR, 1)[:16].hex(" ") in shown


def test_qemu_refuses_an_image_that_is_in_use(tmp_path: Path) -> None:
    path = create_dynamic(tmp_path / "disk.vhd", SIZE)
    image = open_image(path, "vhd", writable=True)
    command = ["qemu-io", "-f", "vpc", "-c", "write 0 512", str(path)]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode
    assert "lock" in refused.stderr
    image.close()
