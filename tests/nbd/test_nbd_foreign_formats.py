"""Disks in qemu's formats: a server for each, for as long as somebody uses it, or a clear message."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from xenolith.storage.errors import ImageError
from xenolith.storage.nbd.client import NbdImage
from xenolith.storage.nbd.client_handshake import Agreement
from xenolith.toolstack import paths, rpc
from xenolith.toolstack.config.disk import DiskConfig, parse_disk
from xenolith.toolstack.devices import nbd_server
from xenolith.toolstack.devices.disk_image import open_disk
from xenolith.toolstack.devices.nbd_server import open_foreign, socket_of

SIZE = 8 << 20

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-nbd") is None or shutil.which("qemu-img") is None,
    reason="needs qemu-nbd and qemu-img",
)


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENOLITH_RUN_DIR", str(tmp_path / "run"))
    os.makedirs(paths.domains_dir())


def disk(path: Path, image_format: str, access: str = "w") -> DiskConfig:
    return parse_disk(f"format={image_format},vdev=xvda,access={access},target={path}")


def make(path: Path, image_format: str) -> None:
    command = ["qemu-img", "create", "-q", "-f", image_format, str(path), str(SIZE)]
    subprocess.run(command, check=True)


def open_image(config: DiskConfig) -> NbdImage:
    assert config.target is not None
    name, fd, agreement = open_foreign(config, config.target)
    agreement = Agreement.from_plain(json.loads(json.dumps(agreement.plain())))
    read_only = not config.writable
    return NbdImage(socket_of(fd), name=name, read_only=read_only, agreement=agreement)


def wait_for_the_end_of_servers(path: Path) -> None:
    deadline = time.monotonic() + 10
    while servers_of(path):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def servers_of(path: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(path).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@needs_qemu
@pytest.mark.parametrize("image_format", ["qcow2", "qcow", "qed", "vhdx", "vmdk"])
def test_what_is_written_stays(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "disk"
    make(path, image_format)
    data = os.urandom(65536)
    # Each server has to make room for the next one.
    for offset in range(0, 4 * 65536, 65536):
        with open_image(disk(path, image_format)) as image:
            assert image.size == SIZE
            image.writev([memoryview(data)], offset)
            image.flush()
    with open_image(disk(path, image_format, "r")) as image:
        filled = memoryview(bytearray(4 * 65536))
        image.readv([filled], 0)
    assert filled == 4 * data


@needs_qemu
def test_the_server_ends_with_the_disk_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    make(path, "qcow2")
    with open_image(disk(path, "qcow2")):
        assert len(servers_of(path)) == 1
        assert os.listdir(paths.domains_dir()) == []
    wait_for_the_end_of_servers(path)


@needs_qemu
def test_the_server_of_a_disk_that_nobody_came_to_use_ends(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    make(path, "qcow2")
    config = disk(path, "qcow2")
    opened = open_disk(config)
    assert len(servers_of(path)) == 1
    rpc.close_all(opened.fds)
    wait_for_the_end_of_servers(path)


@needs_qemu
def test_a_server_that_says_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk.qcow2"
    make(path, "qcow2")

    def refuse(sock: socket.socket, *_: object) -> None:
        sock.close()
        raise ImageError("refused")

    monkeypatch.setattr(nbd_server, "negotiate", refuse)
    with pytest.raises(ImageError, match="refused"):
        open_image(disk(path, "qcow2"))
    wait_for_the_end_of_servers(path)


@needs_qemu
def test_a_disk_that_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    make(path, "qcow2")
    with (
        open_image(disk(path, "qcow2")),
        pytest.raises(ImageError, match=r"disk.qcow2 cannot be served: .*lock"),
    ):
        open_image(disk(path, "qcow2"))


@needs_qemu
def test_a_read_only_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    make(path, "qcow2")
    with open_image(disk(path, "qcow2", "r")) as image:
        assert image.read_only


@needs_qemu
def test_a_file_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(bytes(SIZE))
    with pytest.raises(ImageError, match=r"disk.qcow2 cannot be served: .*qcow2"):
        open_image(disk(path, "qcow2"))


@needs_qemu
def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be opened: No such file"):
        open_image(disk(tmp_path / "nothing", "qcow2"))


def test_without_qemu_the_message_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match=r"read by qemu-nbd.*package qemu-utils"):
        open_image(disk(tmp_path / "disk.qcow2", "qcow2"))
