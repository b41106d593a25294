"""`vhd serve`: a program that exports an image until it is told to end, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nbd_harness import read, write

from xenolith.storage.nbd.client import NbdImage, connect_tcp, connect_unix
from xenolith.storage.nbd.constants import State

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def command(*arguments: object) -> list[str]:
    program = "import sys; from xenolith.cli.vhd import main; sys.exit(main())"
    return [sys.executable, "-c", program, "serve", *map(str, arguments)]


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server's process, and the URI that it has printed."""
    server = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server, server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def refusal(*arguments: object) -> tuple[int, str]:
    run = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=30, check=False
    )
    return run.returncode, run.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_on_a_socket_until_a_signal(disk: Path, tmp_path: Path, signum: int) -> None:
    path, pid_file = tmp_path / "nbd.socket", tmp_path / "pid"
    options = ["--from=raw", "--export=a b", f"--socket={path}", f"--pid-file={pid_file}"]
    with serving(*options, disk) as (server, uri):
        assert uri == f"nbd+unix:///a%20b?socket={path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert int(pid_file.read_text()) == server.pid
        first, second = NbdImage(connect_unix(path), "a b"), NbdImage(connect_unix(path))
        with first, second:
            write(first, 512, b"x" * 512)
            first.flush()
            assert read(second, 0, 1536) == bytes(512) + b"x" * 512 + bytes(512)
            # Clients that stay do not keep it from ending.
            server.send_signal(signum)
            assert server.wait(10) == 0
        assert not path.exists()
        assert not pid_file.exists()
    assert disk.read_bytes()[512:1024] == b"x" * 512


def test_on_a_port(disk: Path) -> None:
    with serving("--from=raw", "--port=0", "--read-only", disk) as (_, uri):
        address = urlsplit(uri)
        assert (address.scheme, address.hostname) == ("nbd", "127.0.0.1")
        assert address.port is not None
        with NbdImage(connect_tcp("127.0.0.1", address.port)) as image:
            assert image.read_only
            assert image.size == SIZE


def test_the_socket_of_a_killed_server_is_replaced(disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "nbd.socket"
    arguments = ["--from=raw", "--read-only", f"--socket={path}", disk]
    with serving(*arguments) as (server, _):
        status, message = refusal(*arguments)
        assert status == 1
        assert "a server listens at" in message
        server.kill()
        server.wait()
        assert path.exists()
    with serving(*arguments), NbdImage(connect_unix(path)) as image:
        assert image.size == SIZE


def test_what_is_refused(disk: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert refusal("--from=raw", f"--socket={file}", disk) == (
        1, f"Error: {file} is in the way: it is no socket\n"
    )  # fmt: skip
    assert file.read_text() == "mine"
    assert refusal("--socket=a", "--port=1", disk)[0] == 2
    assert refusal("--port=http", disk)[0] == 2
    assert refusal("--port=70000", disk)[0] == 2
    status, message = refusal("--from=raw", f"--socket={tmp_path}/{'x' * 120}", disk)
    assert status == 1
    assert "no socket can be made" in message
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, message = refusal("--from=raw", f"--port={port}", disk)
    assert status == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in message


def test_an_image_that_is_being_written_is_not_served_twice(disk: Path, tmp_path: Path) -> None:
    with serving("--from=raw", f"--socket={tmp_path / 'one'}", disk):
        status, message = refusal("--from=raw", f"--socket={tmp_path / 'two'}", disk)
    assert status == 1
    assert str(disk) in message
    assert not (tmp_path / "two").exists()


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_qemu_img_sees_the_contents_of_a_vhd(tmp_path: Path) -> None:
    raw, vhd, path = tmp_path / "disk.raw", tmp_path / "disk.vhd", tmp_path / "socket"
    with raw.open("wb") as file:
        file.write(os.urandom(3 << 20))
        file.truncate(SIZE)
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on"]
    subprocess.run([*convert, str(raw), str(vhd)], check=True)
    with serving("--read-only", f"--socket={path}", vhd) as (_, uri):
        subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", uri, str(raw)], check=True)
        if shutil.which("nbdinfo"):
            run = subprocess.run(
                ["nbdinfo", "--json", "--map", uri], capture_output=True, check=True
            )
            extents = json.loads(run.stdout)
            assert extents[0]["type"] == 0
            assert extents[0]["length"] >= 3 << 20
            assert extents[-1]["type"] == State.HOLE | State.ZERO
