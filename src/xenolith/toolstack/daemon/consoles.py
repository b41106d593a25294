"""Consoles for `xl console`, those of domains included that ended just before it came.

XTF's runner starts `xl console` and `xl unpause` together, and a test may be over before the console
is asked for (xtf-runner, run_test_console).
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from xenolith.toolstack.console_clients import ConsoleClients
from xenolith.toolstack.console_log import ConsoleLog
from xenolith.toolstack.daemon.domain import Domain
from xenolith.toolstack.daemon.errors import DaemonError
from xenolith.toolstack.rpc_loop import Request

if TYPE_CHECKING:
    from xenolith.toolstack.daemon.server import Daemon

KEEP_S = 10.0
"""For how long the console of a domain can be had after its end."""


class _EndedConsole(NamedTuple):
    domid: int
    name: str
    path: str
    start: int
    end: int
    """What the guest printed is this part of the file."""
    ended: float


class EndedConsoles:
    """What guests printed that have ended by themselves a moment ago."""

    def __init__(self) -> None:
        self._ended: list[_EndedConsole] = []

    def keep(self, domain: Domain) -> None:
        """Keep the console of a domain whose log is complete."""
        now = time.monotonic()
        self._ended = [old for old in self._ended if now < old.ended + KEEP_S]
        if domain.console is None:
            return
        path, start = domain.console
        try:
            end = os.stat(path).st_size
        except OSError:
            return
        self._ended.append(_EndedConsole(domain.domid, domain.name, path, start, end, now))

    def find(self, name_or_id: str) -> _EndedConsole | None:
        """The console of the domain of this name or number that ended last."""
        oldest = time.monotonic() - KEEP_S
        for ended in reversed(self._ended):
            if ended.ended > oldest and name_or_id in (ended.name, str(ended.domid)):
                return ended
        return None


def serve_ended(daemon: Daemon, request: Request, name_or_id: str) -> None:
    """Answer with a socket that yields what a guest printed that has ended; DaemonError if none has."""
    ended = daemon.ended_consoles.find(name_or_id)
    if ended is None:
        raise DaemonError(f"There is no domain {name_or_id}")
    fd = os.open(ended.path, os.O_RDONLY | os.O_CLOEXEC)
    clients = ConsoleClients(daemon.loop, ConsoleLog.of_part(fd, ended.start, ended.end), _ignore)
    ours, theirs = socket.socketpair()
    clients.attach(ours)
    clients.drain(lambda: os.close(fd))
    request.reply(None, [theirs.detach()])


def _ignore(_typed: bytes) -> None:
    """Nobody is left who could be typed to."""
