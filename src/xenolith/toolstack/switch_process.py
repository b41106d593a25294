"""The process of one network of domains: a switch whose ports the daemon hands it one by one.

It listens for daemons like a domain's process, is jailed like one, outlives the daemon, and ends when
its last port has gone.
"""

from __future__ import annotations

import os
import socket
import sys

from xenolith.machine import jail
from xenolith.machine.event_loop import EventLoop
from xenolith.net.switch_loop import SwitchLoop
from xenolith.toolstack import rpc
from xenolith.toolstack.rpc_loop import Listener, LoopConnection, Request


def main() -> None:
    """Serve the listening socket at the descriptor ``argv[1]``."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    jail.enter()
    SwitchProcess(sock).run()
    os._exit(0)


class SwitchProcess:
    """The root object of the process."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = EventLoop()
        self._switch = SwitchLoop(self._loop, self._end_if_unused)
        self._daemons = 0
        Listener(self._loop, sock, self._accept)

    def run(self) -> None:
        """Serve until nobody needs it."""
        self._loop.run()

    def _accept(self, sock: socket.socket) -> None:
        self._daemons += 1
        LoopConnection(self._loop, sock, self._serve, self._daemon_gone)

    def _serve(self, request: Request) -> None:
        if request.method == "add_port" and len(request.fds) == 1:
            self._switch.add(request.fds[0])
            request.reply()
        else:
            rpc.close_all(request.fds)
            request.fail(f"No such request: {request.method}", rpc.METHOD_NOT_FOUND)

    def _daemon_gone(self) -> None:
        self._daemons -= 1
        # One that brought no port: it was killed between the two.
        if not self._daemons:
            self._end_if_unused()

    def _end_if_unused(self) -> None:
        if not self._switch.port_count:
            self._loop.stop()


if __name__ == "__main__":
    main()
