"""A xenstore with one domain's devices in it, the bus that serves them, and a loop that runs both."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from xenolith.backends.xenbus import DeviceBackend, Guest, Nodes, StoreClient, Xenbus, XenbusError
from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore import permissions as perms
from xenolith.xenstore.database import Database
from xenolith.xenstore.permissions import Permission
from xenolith.xenstore.server import Server
from xenolith.xenstore.session import backends_domid
from xenolith.xenstore.store import Store

DOMID = 5
BACKEND = f"/local/domain/0/backend/vbd/{DOMID}/51712"
FRONTEND = f"/local/domain/{DOMID}/device/vbd/51712"


class RecordingBackend(DeviceBackend):
    """Says what it is asked; ``refusal`` makes it refuse, and disconnecting waits for ``slow``."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.refusal: Exception | None = None
        self.waiting: list[Callable[[], None]] | None = None

    def features(self) -> Nodes:
        return {"feature-test": "1"}

    def connect(self, frontend: Nodes) -> Nodes:
        self.calls.append(dict(frontend))
        if self.refusal is not None:
            raise self.refusal
        return {"sectors": "8"}

    def watched(self) -> Sequence[str]:
        return ["wish"]

    def changed(self, frontend: Nodes) -> None:
        # A new daemon has all watches fire.
        if "wish" in frontend:
            self.calls.append(("changed", frontend["wish"]))
        if frontend.get("wish") == "nonsense":
            raise XenbusError("a wish that makes no sense")

    def disconnect(self, then: Callable[[], None]) -> None:
        self.calls.append("disconnect")
        if self.waiting is None:
            then()
        else:
            self.waiting.append(then)

    def close(self) -> None:
        self.calls.append("close")


class XenbusHost:
    def __init__(self, guest: dict[str, Any] | None = None) -> None:
        self.loop = EventLoop()
        self.lines: list[str] = []
        self.store = Store(Database(None), self.loop.post)
        self.client = StoreClient(self.loop, self.loop.post)
        parts: dict[str, Any] = {"grants": None, "event_channels": None, "hold": None}
        parts |= guest or {}
        self.guest = Guest(
            domid=DOMID,
            post=self.loop.post,
            defer=self.loop.post,
            log=self.lines.append,
            **parts,
        )
        self.bus = Xenbus(self.guest, self.client)
        self.server = Server(self.loop, self.store)
        self.store.introduce_domain(DOMID)
        self._make_nodes()
        self.connect()

    def connect(self) -> None:
        """Give the client a connection, as a new daemon does."""
        ours, theirs = socket.socketpair()
        self.server.attach_backends(DOMID, ours)
        self.client.connect(theirs)

    def _make_nodes(self) -> None:
        backends = Permission(backends_domid(DOMID), perms.READ | perms.WRITE)
        for path, permissions in (
            (FRONTEND, (Permission(DOMID, perms.NONE), Permission(0, perms.READ))),
            (BACKEND, (Permission(0, perms.NONE), backends, Permission(DOMID, perms.READ))),
        ):
            self.store.mkdir(path)
            self.store.set_permissions(path, permissions)
        self.store.write(f"{FRONTEND}/state", "1")
        self.store.write(f"{BACKEND}/state", "1")

    def restart_daemon(self) -> None:
        """Another server over the same contents; the client has no connection until connect()."""
        self.server.close()
        self.server = Server(self.loop, self.store)

    def close(self) -> None:
        self.server.close()
        # The client closes its end when it sees that.
        self.settle()
        self.loop.close()

    def read(self, name: str) -> str:
        return self.store.read(f"{BACKEND}/{name}").decode()

    def frontend(self, state: int, **nodes: object) -> None:
        for name, value in nodes.items():
            self.store.write(f"{FRONTEND}/{name.replace('_', '-')}", str(value))
        self.store.write(f"{FRONTEND}/state", str(state))

    def run_until(self, condition: Callable[[], bool], timeout: float = 5) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.lines
            self.turn()

    def turn(self) -> None:
        """Let the loop do what is due now."""
        self.loop.call_later(0.002, self.loop.stop)
        self.loop.run()

    def settle(self) -> None:
        for _ in range(5):
            self.turn()

    def expect_state(self, state: int) -> None:
        self.run_until(lambda: self.read("state") == str(state))


__all__ = ["BACKEND", "DOMID", "FRONTEND", "RecordingBackend", "XenbusError", "XenbusHost"]
