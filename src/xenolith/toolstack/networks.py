"""What the daemon plugs network interfaces into: user-mode networking, the host's bridges, networks of domains.

A network of domains is a switch in a process of its own, by name; it is started when its first interface
comes, found again by its socket after the daemon has died, and ends with its last interface.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from xenolith.machine.event_loop import READ, EventLoop
from xenolith.machine.run_dir import runtime_directory
from xenolith.net import passt, tap
from xenolith.net.errors import NetError
from xenolith.net.port_forward import parse_forward
from xenolith.toolstack import rpc, rpc_loop
from xenolith.toolstack.config.nic import NicConfig, NicType
from xenolith.toolstack.rpc_loop import LoopConnection

_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SOCKET_BUFFER = 1 << 20
"""Bytes in flight to or from a switch; Linux gives what net.core.wmem_max allows of it."""
_DEFAULT_BRIDGE = "xenbr0"
"""Where xl plugs interfaces that name no bridge, if the host has it."""


STREAM, MESSAGES = "stream", "messages"
"""The kinds of wires: that of passt, and that of switches and taps (net.wire)."""


class Plugged(NamedTuple):
    """The domain's end of a wire, and of which kind it is."""

    wire: str
    fd: int


Then = Callable[[Plugged | NetError], None]


class Networks:
    """The networks of this user's domains, as the daemon reaches them."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._switches: dict[str, LoopConnection] = {}

    def plug(self, nic: NicConfig, vifname: str, then: Then) -> None:
        """Plug an interface in; ``then`` gets its end of the wire, now or later. NetError."""
        bridge = nic.bridge
        if bridge is None and nic.type is not NicType.USER and not nic.forward:
            bridge = _DEFAULT_BRIDGE if _may_use(_DEFAULT_BRIDGE) else None
        if bridge is None:
            self._plug_user(nic, then)
        elif _may_use(bridge):
            then(Plugged(MESSAGES, tap.open_tap(nic.vifname or vifname, bridge, nic.mtu)))
        else:
            then(Plugged(MESSAGES, self._plug_switch(bridge)))

    def close(self) -> None:
        """Leave the switches to themselves; for the daemon's end."""
        for connection in self._switches.values():
            connection.close()

    def _plug_user(self, nic: NicConfig, then: Then) -> None:
        def started(result: socket.socket | NetError) -> None:
            if isinstance(result, NetError):
                then(result)
            else:
                then(Plugged(STREAM, result.detach()))

        passt.start(self._loop, [parse_forward(text) for text in nic.forward], started)

    def _plug_switch(self, name: str) -> int:
        """The domain's end of a new port of a network."""
        if not _NETWORK_NAME.fullmatch(name):
            raise NetError(f"'{name}' is not a name for a network")
        guests, switches = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (guests, switches):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        try:
            self._add_port(name, switches.detach(), attempts=2)
        except OSError as error:
            guests.close()
            raise NetError(f"network {name} cannot be reached: {error.strerror}") from None
        return guests.detach()

    def _add_port(self, name: str, fd: int, attempts: int) -> None:
        """Hand a port to a network's switch; owns the descriptor."""

        def answered(result: Any, _fds: list[int]) -> None:
            # A switch that was just ending has not heard of the port.
            if isinstance(result, rpc.ProtocolError) and attempts > 1:
                self._add_port(name, fd, attempts - 1)
            else:
                os.close(fd)

        try:
            connection = self._switch(name)
        except OSError:
            os.close(fd)
            raise
        connection.call("add_port", {}, answered, [os.dup(fd)])

    def _switch(self, name: str) -> LoopConnection:
        """The connection to a network's switch, which is started if there is none; OSError."""
        connection = self._switches.get(name)
        if connection is not None and not connection.closed:
            return connection
        path = _socket_path(name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            self._start_switch(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(path)
        connection = LoopConnection(self._loop, sock, lambda request: None, lambda: None, max_fds=0)
        self._switches[name] = connection
        return connection

    def _start_switch(self, path: str) -> None:
        """Start a switch that listens at ``path``; OSError."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with rpc_loop.listen(path) as listening:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "xenolith.toolstack.switch_process", str(listening.fileno())],
                pass_fds=(listening.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        pidfd = os.pidfd_open(process.pid)

        def reap(_events: int) -> None:
            self._loop.forget(pidfd)
            os.close(pidfd)
            process.wait()

        self._loop.watch(pidfd, READ, reap)


def _socket_path(name: str) -> str:
    return f"{runtime_directory()}/networks/{name}.socket"


def _may_use(bridge: str) -> bool:
    """Whether the host has this bridge and this user may put taps on it."""
    return os.geteuid() == 0 and tap.is_bridge(bridge)
