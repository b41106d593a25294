"""Stock programs and ours understand each other over NBD: libnbd's, and qemu's."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from nbd_harness import BLOCK, MemoryImage, client_of, read, serving, write

SIZE = 16 << 20


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*command: object) -> str:
    completed = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr + completed.stdout
    return completed.stdout


def uri(path: Path, name: str = "") -> str:
    return f"nbd+unix:///{name}?socket={path}"


def sparse() -> MemoryImage:
    """An image of random blocks and holes."""
    image, generator = MemoryImage(SIZE), random.Random(3)
    for block in range(SIZE // BLOCK):
        if generator.random() < 0.5:
            image.writev([memoryview(generator.randbytes(BLOCK))], block * BLOCK)
    return image


@needs("nbdinfo")
class TestNbdinfo:
    def test_it_sees_what_the_export_can_do(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with serving(MemoryImage(SIZE), path):
            (export,) = json.loads(run("nbdinfo", "--json", uri(path, "disk")))["exports"]
        assert export["export-name"] == "disk"
        assert export["description"] == "a test's"
        assert export["export-size"] == SIZE
        assert export["contexts"] == ["base:allocation"]
        assert export["block_size_minimum"] == 512
        can = {key for key, value in export.items() if key.startswith("can_") and value}
        assert can == {
            "can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn",
            "can_trim", "can_zero",
        }  # fmt: skip

    def test_it_lists_and_maps(self, tmp_path: Path) -> None:
        path, image = tmp_path / "socket", sparse()
        with serving(image, path):
            assert 'export="disk"' in run("nbdinfo", "--list", uri(path))
            extents = json.loads(run("nbdinfo", "--json", "--map", uri(path)))
        seen = [not extent["type"] for extent in extents for _ in range(extent["length"] // BLOCK)]
        assert seen == image.allocated


@needs("nbdcopy")
class TestNbdcopy:
    def test_from_ours(self, tmp_path: Path) -> None:
        path, image = tmp_path / "socket", sparse()
        with serving(image, path):
            run("nbdcopy", uri(path), tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == image.data

    def test_into_ours(self, tmp_path: Path) -> None:
        path, image, original = tmp_path / "socket", MemoryImage(SIZE), sparse().data
        image.writev([memoryview(b"old" * (SIZE // 3))], 0)
        (tmp_path / "original").write_bytes(original)
        with serving(image, path):
            run("nbdcopy", "--flush", tmp_path / "original", uri(path))
        assert image.data == original
        assert image.flushes


@needs("qemu-img", "qemu-io")
class TestQemu:
    def test_conversions_and_comparisons(self, tmp_path: Path) -> None:
        path, image = tmp_path / "socket", sparse()
        with serving(image, path):
            copy, target = tmp_path / "copy.qcow2", tmp_path / "target"
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri(path), copy)
            run("qemu-img", "compare", "-F", "qcow2", "-f", "raw", uri(path), copy)
            with serving(MemoryImage(SIZE), target) as _:
                run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", copy, uri(target))
                run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri(path), uri(target))

    def test_every_request_that_qemu_makes(self, tmp_path: Path) -> None:
        path, image = tmp_path / "socket", MemoryImage(SIZE)
        commands = [
            "write -P 0x11 0 1M", "aio_write -P 0x22 1M 1M", "aio_flush", "write -f -P 0x33 2M 64k",
            "write -z 0 64k", "write -z -u 64k 64k", "discard 1M 64k", "flush",
            "read -P 0 0 128k", "read -P 0x11 128k 64k", "read -P 0x22 1088k 64k",
        ]  # fmt: skip
        with serving(image, path):
            words = [word for command in commands for word in ("-c", command)]
            output = run("qemu-io", "-f", "raw", *words, uri(path))
        assert "failed" not in output
        assert image.flushes >= 2


@needs("qemu-nbd", "qemu-img")
def test_our_client_on_a_qcow2(tmp_path: Path) -> None:
    path, disk = tmp_path / "socket", tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", disk, SIZE)
    server = subprocess.Popen(
        ["qemu-nbd", "--persistent", "--discard=unmap", "-f", "qcow2", "-k", path, disk]
    )
    try:
        await_socket(path)
        with client_of(path, "") as image:
            data = os.urandom(3 * BLOCK)
            assert image.size == SIZE
            write(image, BLOCK, data)
            image.write_zeroes(2 * BLOCK, BLOCK)
            image.discard(3 * BLOCK, BLOCK)
            image.flush()
            assert read(image, BLOCK, BLOCK) == data[:BLOCK]
            assert read(image, 2 * BLOCK, BLOCK) == bytes(BLOCK)
            extents = list(image.extents(0, SIZE))
            assert sum(extent.length for extent in extents) == SIZE
            assert [extent.zero for extent in extents] == [True, False, True]
    finally:
        server.terminate()
        server.wait(10)
    run("qemu-img", "check", "-q", disk)


def await_socket(path: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not come")
