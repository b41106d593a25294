"""The people who watch a domain's hypercalls (`xl strace`): text lines into their sockets.

They are an aid: a client that does not keep up loses lines and is told how many, and the guest
never waits.
"""

from __future__ import annotations

import socket


class TraceClients:
    """The sockets that get a line each time. Used in the hypervisor thread only."""

    def __init__(self) -> None:
        self._lost: dict[socket.socket, int] = {}

    def attach(self, sock: socket.socket) -> None:
        """Send lines to a socket from now on; owns it."""
        sock.setblocking(False)
        self._lost[sock] = 0

    def write(self, line: str) -> bool:
        """Send a line to all; return whether anybody is left who wants lines."""
        for sock in list(self._lost):
            self._write_to(sock, line)
        return bool(self._lost)

    def close(self) -> None:
        """Close every socket."""
        for sock in self._lost:
            sock.close()
        self._lost.clear()

    def _write_to(self, sock: socket.socket, line: str) -> None:
        lost = self._lost[sock]
        text = f"[{lost} lines are missing here]\n{line}\n" if lost else f"{line}\n"
        try:
            sock.send(text.encode())
        except BlockingIOError:
            self._lost[sock] = lost + 1
        except OSError:
            sock.close()
            del self._lost[sock]
        else:
            self._lost[sock] = 0
