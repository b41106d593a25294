"""Stock NBD servers for disks in formats that we do not read ourselves: qcow2 and what else qemu knows.

The daemon starts qemu-nbd(8), holds the handshake and hands the connected socket to the domain's process.
From then on the server ends when that connection does, whatever ends it, so nobody has to remember it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import NamedTuple

from xenolith.storage.errors import ImageError
from xenolith.storage.nbd.client import connect_unix, negotiate
from xenolith.storage.nbd.client_handshake import Agreement
from xenolith.toolstack import paths
from xenolith.toolstack.config.disk import DiskConfig

PROGRAM = "qemu-nbd"
PACKAGE = "qemu-utils"

_START_TIMEOUT = 20.0
"""Seconds that the server may take to open the image."""
_LOCK_TIMEOUT = 1.0
"""Seconds in which the server of a domain that has just ended must have let go of the image."""
_LOCK_RETRY = 0.05


class ForeignDisk(NamedTuple):
    """A connection to a server that has told what it serves."""

    name: str
    fd: int
    agreement: Agreement


def open_foreign(disk: DiskConfig, target: str) -> ForeignDisk:
    """Start a server of an image, of the disk's format and access; ImageError says why there is none."""
    path = os.path.abspath(target)
    if shutil.which(PROGRAM) is None:
        raise ImageError(
            f"{path}: images of format {disk.format} are read by {PROGRAM}, which is not there"
            f" (it is in the package {PACKAGE})"
        )
    if not os.path.exists(path):
        raise ImageError(f"{path} cannot be opened: {os.strerror(2)}")
    # The path of the socket only matters until both ends are connected.
    with tempfile.TemporaryDirectory(prefix="nbd-", dir=paths.domains_dir()) as directory:
        address, process = (os.path.join(directory, name) for name in ("socket", "process"))
        _start(_command(disk, path, address, process), path)
        try:
            sock = connect_unix(address)
            agreement = negotiate(sock, "", path)
            return ForeignDisk(path, sock.detach(), agreement)
        except BaseException:
            # It waits for somebody to talk to.
            _end(process)
            raise


def socket_of(fd: int) -> socket.socket:
    """The socket that ``open_foreign`` returned as a descriptor, in whatever process it is now."""
    return socket.socket(fileno=fd)


def _end(process_file: str) -> None:
    with suppress(OSError, ValueError), open(process_file) as file:
        # It forgets a SIGTERM that comes before its main loop, and has had nothing to write.
        os.kill(int(file.read()), signal.SIGKILL)


def _command(disk: DiskConfig, path: str, address: str, process_file: str) -> list[str]:
    return [
        PROGRAM,
        "--fork",
        "--shared=1",
        f"--socket={address}",
        f"--pid-file={process_file}",
        f"--format={disk.format.value}",
        f"--cache={'none' if disk.direct_io_safe else 'writeback'}",
        f"--discard={'unmap' if disk.discard else 'ignore'}",
        *([] if disk.writable else ["--read-only"]),
        "--",
        path,
    ]


def _start(command: list[str], path: str) -> None:
    """Return once the server listens; ImageError with its own words if it does not."""
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            run = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_START_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ImageError(
                f"{path}: {PROGRAM} has not opened it in {_START_TIMEOUT:g} s"
            ) from None
        except OSError as error:
            raise ImageError(f"{PROGRAM} cannot be started: {error.strerror}") from error
        if run.returncode == 0:
            return
        words = run.stderr.decode(errors="replace").strip() or f"exit status {run.returncode}"
        if " lock" not in words or time.monotonic() > deadline:
            raise ImageError(f"{path} cannot be served: {words.splitlines()[0]}")
        time.sleep(_LOCK_RETRY)
