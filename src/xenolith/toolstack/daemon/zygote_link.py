"""The daemon's end of the zygote: starts it, and asks it for domain processes."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from xenolith.machine.event_loop import READ, EventLoop
from xenolith.toolstack import rpc
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.rpc_loop import LoopConnection, Request

_log = logging.getLogger(__name__)

MACHINE = os.environ.get("XENOLITH_MACHINE", "xenolith.toolstack.domain_builder:build_domain")
"""The machine factory (toolstack.machine.MachineFactory) as module and name."""

Spawned = Callable[[tuple[int, int] | DaemonError], None]
"""Takes the process id and a pidfd of a new domain process, or why there is none."""


class ZygoteLink:
    """Starts a zygote now, and another whenever it is needed and the last one has ended.

    ``on_ended(pid, code)`` hears how domain processes ended: their exit code, or a signal's
    number negated.
    """

    def __init__(self, loop: EventLoop, on_ended: Callable[[int, int], None]) -> None:
        self._loop = loop
        self._on_ended = on_ended
        self.engines = "not measured yet"
        """What the zygote says of the engines."""
        self._connection = self._start()

    def spawn(self, domid: int, config: rpc.Body, fds: dict[str, int], then: Spawned) -> None:
        """Start a domain process; closes ``fds``, which it gets by role. ``then`` runs later."""

        def answered(result: Any, received: list[int]) -> None:
            if isinstance(result, Exception):
                then(DaemonError(f"its process could not be started: {result}"))
            else:
                then((result["pid"], received[0]))

        if self._connection.closed:
            try:
                self._connection = self._start()
            except OSError as error:
                rpc.close_all(list(fds.values()))
                failure = DaemonError(f"the zygote could not be started: {error.strerror}")
                self._loop.post(lambda: then(failure))
                return
        params = {"domid": domid, "config": config, "roles": list(fds)}
        self._connection.call("spawn", params, answered, list(fds.values()))

    def close(self) -> None:
        """End the zygote; domain processes go on."""
        self._connection.close()

    def _start(self) -> LoopConnection:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            program = [sys.executable, "-P", "-m", "xenolith.toolstack.zygote"]
            pid = os.posix_spawn(
                sys.executable, [*program, str(theirs.fileno()), MACHINE], os.environ
            )
        pidfd = os.pidfd_open(pid)
        self._loop.watch(pidfd, READ, lambda _events: self._reap(pid, pidfd))
        return LoopConnection(self._loop, ours, self._serve, lambda: None)

    def _serve(self, request: Request) -> None:
        if request.method == "ended":
            self._on_ended(request.params["pid"], request.params["code"])
        elif request.method == "engines":
            self.engines = request.params["report"]

    def _reap(self, pid: int, pidfd: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._loop.forget(pidfd)
        os.close(pidfd)
        _log.info("the zygote has ended with code %d", os.waitstatus_to_exitcode(status))
