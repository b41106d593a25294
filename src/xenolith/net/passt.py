"""User-mode networking by passt(1): a process that ends the guest's connections in sockets of its own.

It speaks the protocol of :class:`xenolith.net.wire.StreamWire` over a socket that it is given, and ends
with it. It goes to the background when its ports are bound, so its exit tells whether they could be.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from xenolith.machine.event_loop import READ, EventLoop
from xenolith.net.errors import NetError
from xenolith.net.port_forward import PortForward

PROGRAM = "passt"

MTU = 65516
"""What passt announces by DHCP: the most that Linux's netfront takes, in whole words."""

_OPTIONS = {"tcp": "-t", "udp": "-u"}
_NOISE = ("Failed to send", "Don't run as root")
_START_S = 10.0
_SEND_BUFFER = 8 << 20
"""Linux gives what net.core.wmem_max allows of it."""

Started = Callable[[socket.socket | NetError], None]
"""Takes the guest's end of the wire, or why there is none."""


def start(loop: EventLoop, forwards: Sequence[PortForward], started: Started) -> None:
    """Start a passt, and call ``started`` once it serves; NetError where it cannot be started."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise NetError(
            "user-mode networking needs passt: install the package passt, or connect the interface"
            " to a network of its own by bridge=NAME"
        )
    guests, passts = socket.socketpair()
    # What passt has no room for it drops, and it sends as much as the guest's TCP windows allow.
    passts.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    with passts, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command(program, passts.fileno(), forwards),
                pass_fds=(passts.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            guests.close()
            raise NetError(f"{program} cannot be started: {error.strerror}") from None
        _Start(loop, process, guests, os.dup(errors.fileno()), started)


def command(program: str, fd: int, forwards: Sequence[PortForward]) -> list[str]:
    """The command line of a passt that serves the socket ``fd``."""
    arguments = [program, "--quiet", "--fd", str(fd), "--mtu", str(MTU)]
    for forward in forwards:
        ports = f"{_range(forward.host_ports)}:{_range(forward.guest_ports)}"
        address = f"{forward.address}/" if forward.address is not None else ""
        arguments += [_OPTIONS[forward.protocol], f"{address}{ports}"]
    return arguments


def _range(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"


class _Start:
    """Waits for a passt to have gone to the background."""

    def __init__(
        self,
        loop: EventLoop,
        process: subprocess.Popen[bytes],
        guests: socket.socket,
        errors: int,
        started: Started,
    ) -> None:
        self._loop = loop
        self._process = process
        self._guests = guests
        self._errors = errors
        self._started = started
        self._pidfd = os.pidfd_open(process.pid)
        self._timer = loop.call_later(_START_S, self._kill)
        loop.watch(self._pidfd, READ, self._ended)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _ended(self, _events: int) -> None:
        self._timer.cancel()
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        failed = self._process.wait() != 0
        with open(self._errors, "rb") as file:
            file.seek(0)
            words = file.read().decode("utf-8", "replace")
        if failed:
            self._guests.close()
            self._started(NetError(f"passt cannot serve: {_last_words(words)}"))
        else:
            self._started(self._guests)


def _last_words(text: str) -> str:
    """What passt said of why it ends, without its complaints about syslog."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(_NOISE)]
    return said[-1] if said else "it said nothing"
