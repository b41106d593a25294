"""The people who watch a domain's hypercalls (`xl strace`): text lines into their sockets.

They are an aid, and the guest never waits for them: lines wait in memory for whoever is slower
than the guest, and where even that is full the rest is dropped and counted.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from xenolith.machine.event_loop import HANGUP, WRITE, EventLoop

BACKLOG = 8 << 20
"""Bytes of lines that wait for one client before lines are dropped."""

DRAIN_S = 5.0
"""How long, once the domain has ended, a client may read nothing before it is given up."""


class TraceClient:
    """One socket that gets lines. The event loop's thread's alone."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.begun = False
        self.watched = 0
        """The events that the loop watches for."""
        self.stuck_at = -1
        self._unsent = bytearray()
        self._dropped = 0

    @property
    def waiting(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._unsent)

    @property
    def behind(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._unsent or self._dropped)

    def add(self, lines: list[str]) -> None:
        """Have lines sent, or drop them all where too many wait."""
        text = "".join(lines).encode()
        room = BACKLOG - len(self._unsent)
        # With some room to spare: a note and a line by turns would help nobody.
        if len(text) > room or (self._dropped and room < BACKLOG // 2):
            self._dropped += len(lines)
            return
        self._note()
        self._unsent += text

    def send(self) -> None:
        """Send what the socket takes now; OSError if nobody is there any more."""
        if not self._unsent:
            self._note()
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return

    def _note(self) -> None:
        if self._dropped:
            self._unsent += f"[{self._dropped} lines are missing here]\n".encode()
            self._dropped = 0


class TraceClients:
    """The sockets that get a line each time.

    Methods run in the event loop's thread, but for :meth:`begin` and :meth:`write`, which one
    other thread calls: the hypervisor's.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._clients: dict[int, TraceClient] = {}
        self._on_drained: Callable[[], None] | None = None
        # Filled by the hypervisor thread, emptied by the loop's: lines, and who gets those behind.
        self._written: deque[str | TraceClient] = deque()
        self._posted = False

    def attach(self, sock: socket.socket) -> TraceClient:
        """Take a client in, who gets lines from :meth:`begin` on; owns the socket."""
        sock.setblocking(False)
        client = TraceClient(sock)
        self._clients[sock.fileno()] = client
        self._loop.watch(sock.fileno(), 0, lambda events: self._ready(client, events))
        return client

    def begin(self, client: TraceClient) -> None:
        """Send a client what is written from now on. Hypervisor thread."""
        self._written.append(client)

    def write(self, line: str) -> bool:
        """Send a line to all; whether anybody is left who wants lines. Hypervisor thread."""
        self._written.append(f"{line}\n")
        if not self._posted:
            self._posted = True
            self._loop.post(self._distribute)
        return bool(self._clients)

    def drain(self, on_drained: Callable[[], None]) -> None:
        """No line will be written any more: deliver those that wait, close, then call back."""
        self._on_drained = on_drained
        self._distribute()
        for client in list(self._clients.values()):
            self._send(client)
        if self._clients:
            self._loop.call_later(DRAIN_S, self._give_up)
        else:
            self._check_drained()

    def _distribute(self) -> None:
        self._posted = False
        lines: list[str] = []
        for _ in range(len(self._written)):
            item = self._written.popleft()
            if isinstance(item, str):
                lines.append(item)
            else:
                self._add(lines)
                lines = []
                item.begun = True
        self._add(lines)

    def _add(self, lines: list[str]) -> None:
        if not lines:
            return
        for client in list(self._clients.values()):
            if client.begun:
                client.add(lines)
                self._send(client)

    def _ready(self, client: TraceClient, events: int) -> None:
        if events & WRITE:
            self._send(client)
        elif events & HANGUP:
            self._close(client)

    def _send(self, client: TraceClient) -> None:
        try:
            client.send()
        except OSError:
            self._close(client)
            return
        if self._on_drained is not None and not client.behind:
            self._close(client)
            return
        events = WRITE if client.behind else 0
        if events != client.watched:
            client.watched = events
            self._loop.modify(client.socket.fileno(), events)

    def _give_up(self) -> None:
        """Close whoever has taken nothing of late, and give the others more time."""
        for client in list(self._clients.values()):
            if client.waiting == client.stuck_at or not client.behind:
                self._close(client)
            client.stuck_at = client.waiting
        if self._clients:
            self._loop.call_later(DRAIN_S, self._give_up)

    def _close(self, client: TraceClient) -> None:
        fd = client.socket.fileno()
        if self._clients.pop(fd, None) is not None:
            self._loop.forget(fd)
            client.socket.close()
            self._check_drained()

    def _check_drained(self) -> None:
        if self._on_drained is not None and not self._clients:
            done, self._on_drained = self._on_drained, None
            done()
