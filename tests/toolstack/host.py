"""A host of its own for a test: a run directory, and the processes that live in it."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from xenolith.toolstack.client import Toolstack, ToolstackError
from xenolith.toolstack.config import DomainConfig, DomainType


class Host:
    """A run directory of its own, with the processes that live in it."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.state_dir = run_dir / "state"

    def connect(self) -> Toolstack:
        """A new connection to the daemon, started if need be."""
        return Toolstack.connect()

    def config(self, name: str, cmdline: str = "", **changes: Any) -> dict[str, Any]:
        """The configuration of a domain of the fake machine."""
        config = DomainConfig(
            name=name, cmdline=cmdline, type=DomainType.PVH, uuid=str(uuid.uuid4()), **changes
        )
        return config.to_dict()

    def processes(self) -> dict[int, str]:
        """The names of all live processes of this host, by process id."""
        mark = f"XENOLITH_RUN_DIR={self.run_dir}".encode()
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                name = Path(f"/proc/{entry}/comm").read_text().strip()
            except OSError:
                continue
            if mark in environment:
                found[int(entry)] = name
        return found

    def pid_of(self, name: str) -> int:
        """The process of this name."""
        (pid,) = (pid for pid, comm in self.processes().items() if comm == name)
        return pid

    def daemon_pid(self) -> int:
        """The daemon's process."""
        (pid,) = (
            pid
            for pid in self.processes()
            if b"xenolith.cli.xenolithd" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """End a process of this host and wait until it has."""
        pidfd = os.pidfd_open(pid)
        signal.pidfd_send_signal(pidfd, number)
        readable, _, _ = select.select([pidfd], [], [], 10)
        os.close(pidfd)
        assert readable, f"process {pid} survived signal {number}"

    def clean_up(self) -> None:
        """End everything; AssertionError if something was left, or the daemon met a bug."""
        with self.connect() as toolstack:
            for domain in toolstack.list()[1:]:
                # One that was cut short while it was built goes by itself.
                with suppress(ToolstackError):
                    toolstack.destroy(domain.domid)
            eventually(lambda: len(toolstack.list()) == 1, toolstack.list)
        eventually(lambda: len(self.processes()) == 2, self.processes)
        self.kill(self.daemon_pid(), signal.SIGTERM)
        eventually(lambda: not self.processes(), self.processes)
        assert "Traceback" not in (self.state_dir / "logs" / "xenolithd.log").read_text()


def eventually(condition: Callable[[], bool], explain: Callable[[], object] = lambda: "") -> None:
    """Wait for another process to get there."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.01)


def read_until(sock: socket.socket, wanted: bytes, timeout: float = 10) -> bytes:
    """All that comes from a socket up to ``wanted``; TimeoutError if it does not come."""
    sock.settimeout(timeout)
    data = b""
    while wanted not in data:
        part = sock.recv(1 << 16)
        assert part, data
        data += part
    return data


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes from a socket."""
    sock.settimeout(10)
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    return data
