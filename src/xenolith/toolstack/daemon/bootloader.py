"""The key bootloader: a jailed process finds a domain's kernel in the domain's own first disk.

The daemon opens the disk for it and takes the kernel in memory files, which are the domain's alone.
As in libxl (libxl_bootloader.c), kernel and ramdisk of the configuration are files in that disk then,
and its command line follows that of the chosen entry.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.limits import CPU_SECONDS, LONGEST_COMMAND_LINE
from xenolith.bootloader.options import Options, parse_options
from xenolith.machine.event_loop import READ
from xenolith.storage.errors import ImageError
from xenolith.toolstack import paths, rpc
from xenolith.toolstack.config import DomainConfig
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.devices.disk_image import open_disk
from xenolith.toolstack.rpc_loop import LoopConnection

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

TIMEOUT_S = 120.0
"""How long reading a disk may take, where nobody is to choose."""

_PROCESS = "xenolith.toolstack.bootloader_process"


class Screen(NamedTuple):
    """Where the menu is shown."""

    fd: int
    """A stream to a terminal and from it; stays the caller's."""
    columns: int
    rows: int


class Booted(NamedTuple):
    """What was found; the descriptors belong to who gets this."""

    config: DomainConfig
    """That of the domain, with the names of what was found and the whole command line."""
    kernel: int
    ramdisk: int | None

    def close(self) -> None:
        """Give back what nobody needs."""
        rpc.close_all([fd for fd in (self.kernel, self.ramdisk) if fd is not None])


Then = Callable[[Booted | DaemonError], None]


def run(daemon: Daemon, domain: Domain, screen: Screen | None, then: Then) -> None:
    """Find what a domain boots; ``then`` runs later, once the process has ended. DaemonError, OSError."""
    boot = _Boot(daemon, domain, _options(domain.config), screen, then)
    try:
        boot.start(None if screen is not None else TIMEOUT_S)
    except OSError:
        boot.close()
        raise


def _options(config: DomainConfig) -> Options:
    arguments = [
        *([] if config.kernel is None else [f"--kernel={config.kernel}"]),
        *([] if config.ramdisk is None else [f"--ramdisk={config.ramdisk}"]),
        f"--args={config.cmdline}",
    ]
    try:
        return parse_options([*arguments, *config.bootloader_args])[0]
    except BootError as error:
        raise DaemonError(str(error)) from None


class _Boot:
    """One process, from its start to its end."""

    def __init__(
        self, daemon: Daemon, domain: Domain, options: Options, screen: Screen | None, then: Then
    ) -> None:
        self._daemon = daemon
        self._domain = domain
        self._params: rpc.Body = {"options": options.to_dict(), "screen": None}
        self._fds = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("kernel", "ramdisk")]
        self._kernel, self._ramdisk = self._fds
        if screen is not None:
            self._params["screen"] = {"columns": screen.columns, "rows": screen.rows}
            self._fds.append(os.dup(screen.fd))
        self._then = then
        self._connection: LoopConnection | None = None
        self._pidfd: int | None = None
        self._result: Any = None
        self._status = 0
        self._left = 2
        """Its answer and its end, which come in any order."""
        self._in_time = True

    def start(self, timeout: float | None) -> None:
        """Start the process, which is given ``timeout`` seconds; OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _PROCESS, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._domain.open_log(),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        pidfd = self._pidfd = os.pidfd_open(process.pid)
        loop = self._daemon.loop

        def reap(_events: int) -> None:
            loop.forget(pidfd)
            os.close(pidfd)
            self._pidfd = None
            if timer is not None:
                timer.cancel()
            self._status = process.wait()
            self._finish()

        timer = None if timeout is None else loop.call_later(timeout, self._too_late)
        loop.watch(pidfd, READ, reap)
        self._domain.when_gone(self._kill)
        self._connection = LoopConnection(
            loop, ours, lambda request: rpc.close_all(request.fds), lambda: None
        )
        self._connection.call("ready", {}, self._ready)

    def close(self) -> None:
        """Give back what the daemon holds of it."""
        rpc.close_all(self._fds)
        self._fds.clear()

    def _ready(self, result: Any, fds: list[int]) -> None:
        """The process is jailed: only now may it have the disk, whose server waits for nobody else."""
        connection, disk = self._connection, self._domain.config.disk[0]
        assert connection is not None
        if isinstance(result, Exception) or self._domain.released:
            connection.close()
            self._answered(result, fds)
            return
        try:
            opened = open_disk(dataclasses.replace(disk, writable=False))
        except ImageError as error:
            connection.close()
            self._answered(error, fds)
            return
        handed = [*map(os.dup, self._fds), *opened.fds]
        params = self._params | {"disk": opened.settings}
        connection.call("boot", params, self._answered, handed)

    def _answered(self, result: Any, fds: list[int]) -> None:
        rpc.close_all(fds)
        self._result = result
        self._finish()

    def _too_late(self) -> None:
        self._in_time = False
        self._kill()

    def _kill(self) -> None:
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _finish(self) -> None:
        """The process has answered, or it has ended: go on when it has done both."""
        self._left -= 1
        if self._left == 0:
            outcome = self._outcome()
            self.close()
            self._then(outcome)

    def _outcome(self) -> Booted | DaemonError:
        config = self._domain.config
        disk = f"pygrub: disk {config.disk[0].vdev}"
        if not self._in_time:
            return DaemonError(f"{disk}: reading it takes more than {TIMEOUT_S:g} s")
        if self._status in (-signal.SIGXCPU, -signal.SIGKILL):
            return DaemonError(f"{disk}: reading it takes more than {CPU_SECONDS} s of CPU time")
        if isinstance(self._result, rpc.ProtocolError):
            return DaemonError(f"{disk}: the process has died, see {paths.domain_log(config.name)}")
        if isinstance(self._result, Exception):
            # The process has read a hostile disk; its words go to somebody's terminal.
            return DaemonError(str(BootError(f"{disk}: {self._result}")))
        try:
            return self._booted(config)
        except (TypeError, KeyError, ValueError):
            return DaemonError(f"{disk}: the answer makes no sense")

    def _booted(self, config: DomainConfig) -> Booted:
        """What the process says; what it says wrong is a TypeError, KeyError or ValueError."""
        kernel, command_line = self._result["kernel"], self._result["command_line"]
        if not isinstance(kernel, str) or not isinstance(command_line, str):
            raise TypeError
        if not (kernel.isprintable() and command_line.isprintable()):
            raise ValueError
        if len(command_line) > LONGEST_COMMAND_LINE:
            raise ValueError
        self._domain.log(f"pygrub boots {kernel} with '{command_line}'")
        has_ramdisk = os.fstat(self._ramdisk).st_size > 0
        found = dataclasses.replace(
            config,
            kernel=f"{config.disk[0].target}: {kernel}",
            ramdisk=f"the ramdisk of {config.disk[0].target}" if has_ramdisk else None,
            cmdline=command_line,
        )
        return Booted(found, os.dup(self._kernel), os.dup(self._ramdisk) if has_ramdisk else None)
