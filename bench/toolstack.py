"""Our own programs in a run directory of their own: the daemon, and domains created by `xl create`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.console_log import ConsoleLog
from bench.errors import BenchError
from bench.guest import OWN_GROUP, WAIT_S, GuestSpec, Launch

_PROGRAMS = Path(sys.executable).parent
_DAEMON_STOP_S = 10.0


class Toolstack:
    """Starts domains; made by :func:`running_toolstack`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._run = directory / "run"
        self._logs = directory / "state" / "logs"
        self.environment = {
            **os.environ,
            "XENOLITH_RUN_DIR": str(self._run),
            "XENOLITH_STATE_DIR": str(directory / "state"),
        }
        self.environment.pop("XENSTORED_PATH", None)
        self._domains: list[DomainGuest] = []
        for made in (self._run, self._logs):
            made.mkdir(mode=0o700, parents=True)

    def xl(self, *arguments: str) -> str:
        """Run xl; return what it prints. BenchError if it fails."""
        done = subprocess.run(
            [_PROGRAMS / "xl", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            process_group=OWN_GROUP,
        )
        if done.returncode != 0:
            raise BenchError(f"xl {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def start(self, spec: GuestSpec) -> DomainGuest:
        """Start `xl create` of a domain."""
        name = f"bench-{len(self._domains) + 1}"
        config = self._directory / f"{name}.cfg"
        config.write_text(_xl_cfg(name, spec))
        console = ConsoleLog(self._logs / f"guest-{name}.log")
        launch = Launch([_PROGRAMS / "xl", "create", "-q", config], self.environment)
        domain = DomainGuest(self, name, spec, console, launch)
        self._domains.append(domain)
        return domain

    def process_of(self, name: str) -> int:
        """The process id of a domain, from the daemon's record of it."""
        domid = self.xl("domid", name).strip()
        record = json.loads((self._run / "domains" / f"{domid}.json").read_text())
        pid: int = record["pid"]
        return pid

    def stop_domains(self) -> None:
        """End every domain that still runs."""
        for domain in self._domains:
            domain.stop()


class DomainGuest:
    """One domain, and the `xl create` that makes it."""

    def __init__(
        self, toolstack: Toolstack, name: str, spec: GuestSpec, console: ConsoleLog, launch: Launch
    ) -> None:
        self.spec = spec
        self.console = console
        self._toolstack = toolstack
        self._name = name
        self._launch = launch
        self._running = True

    @property
    def pid(self) -> int:
        """See Guest."""
        self._launch.process.wait()
        return self._toolstack.process_of(self._name)

    def fileno(self) -> int:
        """See Launcher."""
        return self._launch.fileno()

    def check_end(self) -> None:
        """See Launcher."""
        errors = self._launch.wait()
        if self._launch.process.returncode != 0:
            raise BenchError(f"xl create failed: {errors}")

    def wait_for(self, marker: bytes, timeout: float = WAIT_S) -> float:
        """See Guest."""
        seen = self.console.wait_for(marker, time.perf_counter() + timeout, self)
        return seen - self._launch.started

    def stop(self) -> None:
        """See Guest. A domain that has ended by itself is no error."""
        if not self._running:
            return
        self._running = False
        self._launch.wait()
        self._launch.close()
        with contextlib.suppress(BenchError):
            self._toolstack.xl("destroy", self._name)


@contextlib.contextmanager
def running_toolstack(directory: Path) -> Iterator[Toolstack]:
    """A daemon with nothing in its hands; everything is ended afterwards."""
    toolstack = Toolstack(directory)
    reader, writer = os.pipe()
    with open(reader, "rb") as ready:
        program = [str(_PROGRAMS / "xenolithd"), "--ready-fd", str(writer)]
        try:
            daemon = subprocess.Popen(
                program,
                env=toolstack.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[writer],
                process_group=OWN_GROUP,
            )
        except FileNotFoundError:
            raise BenchError(f"there is no {program[0]}: run `make bench`") from None
        finally:
            os.close(writer)
        try:
            said = ready.read()
            if said != b"ready\n":
                raise BenchError(f"the daemon could not be started: {said.decode()}")
            yield toolstack
        finally:
            toolstack.stop_domains()
            _end(daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(daemon.pid)
    daemon.send_signal(signal.SIGTERM)
    ended, _, _ = select.select([pidfd], [], [], _DAEMON_STOP_S)
    os.close(pidfd)
    if not ended:
        daemon.kill()
    daemon.wait()


def _xl_cfg(name: str, spec: GuestSpec) -> str:
    lines = {
        "name": name,
        "type": spec.type,
        "kernel": str(spec.kernel),
        "memory": spec.memory,
        "vcpus": spec.vcpus,
        "engine": spec.engine,
        "cmdline": f"console=hvc0 {spec.command_line}",
    }
    if spec.vif:
        lines["vif"] = list(spec.vif)
    if spec.disk is not None:
        path, image_format = spec.disk
        lines["disk"] = [f"format={image_format},vdev=xvda,access=rw,target={path}"]
    if spec.ramdisk is not None:
        lines["ramdisk"] = str(spec.ramdisk)
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
