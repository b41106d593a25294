"""A host of its own for the tests: a run directory, and Xenolith's programs in it as a user runs them."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .terminal import Terminal

GUEST = Path(__file__).parents[2] / "examples" / "guest"
READY = b"XENOLITH: user space is up"
"""What the guest's first process prints."""

_EXTRA = "console=hvc0 mitigations=off"


class Row(NamedTuple):
    """A line of `xl list` as scripts read it, by its six fields."""

    name: str
    domid: int
    memory: int
    vcpus: int
    state: str
    seconds: float


class Host:
    """The programs below one run directory; :meth:`clean_up` ends all of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.run_dir.mkdir(mode=0o700)
        self.logs = self.run_dir / "state" / "logs"
        self.dumps = self.run_dir / "state" / "dump"
        self.environment = {**os.environ, "XENOLITH_RUN_DIR": str(self.run_dir)}
        # The programs must find their places by the run directory alone, as a user's would.
        for variable in ("XENOLITH_STATE_DIR", "XENSTORED_PATH"):
            self.environment.pop(variable, None)
        self._configs = 0

    def command(self, *arguments: object) -> list[str]:
        """The command line of xl: the installed program, else the module."""
        beside = shutil.which("xl", path=os.path.dirname(sys.executable))
        program = [beside] if beside else [sys.executable, "-m", "xenolith.cli.xl"]
        return [*program, *map(str, arguments)]

    def try_xl(
        self, *arguments: object, typed: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run xl, whatever comes of it; without ``typed`` its standard input is /dev/null."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if typed is None else {"input": typed}
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            **given,
        )

    def xl(self, *arguments: object, typed: str | None = None, timeout: float = 60) -> str:
        """What xl prints to its standard output; AssertionError unless it succeeds."""
        done = self.try_xl(*arguments, typed=typed, timeout=timeout)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start_daemon(self, *limits: str) -> None:
        """Start the daemon with limits, as options of prlimit(1)."""
        subprocess.run(
            ["prlimit", *limits, "--", *self.command("info", "host")],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @contextmanager
    def running_xl(self, *arguments: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run xl in the background, its output a pipe; kill it if it has not ended."""
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            **options,
        }
        command = self.command(*arguments)
        with subprocess.Popen(command, env=self.environment, **settings) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def terminal(self, *arguments: object) -> Iterator[Terminal]:
        """Run xl on a terminal of its own."""
        with Terminal(self.command(*arguments), self.environment) as terminal:
            yield terminal

    def config(self, name: str, /, *, extra: str = "", **settings: object) -> Path:
        """A file that describes a domain of Debian's cloud kernel; settings override its own."""
        values = {
            "name": name,
            "type": "pvh",
            "kernel": str(GUEST / "cloud" / "vmlinuz"),
            "ramdisk": str(GUEST / "cloud" / "initramfs"),
            "memory": 256,
            "extra": f"{_EXTRA} {extra}".rstrip(),
            **settings,
        }
        self._configs += 1
        path = self.directory / f"{name}-{self._configs}.cfg"
        # JSON's strings, numbers and lists are xl.cfg's as well.
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        return path

    def list(self) -> list[Row]:
        """All domains as `xl list` shows them."""
        rows = [line.split() for line in self.xl("list").splitlines()[1:]]
        return [
            Row(name, int(domid), int(memory), int(vcpus), state, float(seconds))
            for name, domid, memory, vcpus, state, seconds in rows
        ]

    def row(self, name: str) -> Row:
        """The line of one domain; KeyError if there is none."""
        return {row.name: row for row in self.list()}[name]

    def names(self) -> set[str]:
        """The names of all domains but the host itself."""
        return {row.name for row in self.list()} - {"Domain-0"}

    def domain_pid(self, name: str) -> int:
        """The process of a domain."""
        return int(self._record(name)["pid"])

    def daemon_pid(self) -> int:
        """The daemon's process."""
        (pid,) = (pid for pid, line in self.processes().items() if "cli.xenolithd" in line)
        return pid

    def processes(self) -> dict[int, str]:
        """The command lines of all live processes of this host, by process id."""
        mark = f"XENOLITH_RUN_DIR={self.run_dir}".encode()
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if mark in environment:
                found[int(entry)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        return found

    def domain_processes(self) -> set[int]:
        """The processes of all domains."""
        return {pid for pid in self.processes() if _name_of(pid).startswith("xen-")} - {
            pid for pid in self.processes() if _name_of(pid) == "xen-zygote"
        }

    def xenstore_socket(self) -> str:
        """Where Debian's own xenstore tools find the store."""
        return self.xl("info", "xenstored_socket").strip()

    def xenstore(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of Debian's xenstore tools."""
        return subprocess.run(
            command,
            env={**self.environment, "XENSTORED_PATH": self.xenstore_socket()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def clean_up(self) -> None:
        """End everything; AssertionError if a process stays."""
        for row in self.list():
            if row.domid:
                self.try_xl("destroy", row.domid)
        eventually(lambda: not self.domain_processes(), self.processes)
        kill(self.daemon_pid(), signal.SIGTERM)
        eventually(lambda: not self.processes(), self.processes)

    def _record(self, name: str) -> dict[str, Any]:
        domid = self.xl("domid", name).strip()
        record: dict[str, Any] = json.loads((self.run_dir / f"domains/{domid}.json").read_text())
        return record


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """End a process and wait until it has ended."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, number)
        ended, _, _ = select.select([pidfd], [], [], 10)
    finally:
        os.close(pidfd)
    assert ended, f"process {pid} survived signal {number}"


def eventually(
    condition: Callable[[], bool],
    explain: Callable[[], object] = lambda: "",
    timeout: float = 20,
) -> None:
    """Wait until a condition holds that another process brings about."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


def read_until(
    process: subprocess.Popen[bytes], wanted: Sequence[bytes] | bytes, timeout: float = 60
) -> bytes:
    """What a process prints up to any of ``wanted``; AssertionError if it does not come."""
    assert process.stdout is not None
    markers = [wanted] if isinstance(wanted, bytes) else list(wanted)
    deadline = time.monotonic() + timeout
    data = b""
    while not any(marker in data for marker in markers):
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        assert ready, (wanted, data[-2000:])
        part = os.read(process.stdout.fileno(), 1 << 16)
        assert part, (wanted, data[-2000:])
        data += part
    return data


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
