"""The backends' way to xenstore: requests in, answers and watch events out, over daemons' deaths.

The wire protocol is that of docs/misc/xenstore.txt. No request depends on an earlier one, so those
that a daemon left unanswered are simply sent to the next one.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

from xenolith.abi.xs_wire import MessageType
from xenolith.backends.xenbus.nodes import Nodes
from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore.daemon_link import DaemonLink
from xenolith.xenstore.protocol import Message, encode, strings

_SNAPSHOT_DEPTH = 2
"""Levels below a device's directory: queue-0/ring-ref."""
_SNAPSHOT_NODES = 1024

Reply = Callable[[bytes | None], None]
"""Takes the payload of an answer; None where it is an error."""


class Watch:
    """A watch that is set; :meth:`StoreClient.unwatch` ends it."""

    def __init__(self, path: str, token: str, changed: Callable[[], None]) -> None:
        self.path = path
        self.token = token
        self._changed = changed
        self._ended = False

    def fire(self) -> None:
        """Tell who set it; hypervisor thread."""
        if not self._ended:
            self._changed()

    def end(self) -> None:
        """Let no event that is on its way arrive; hypervisor thread."""
        self._ended = True

    @property
    def payload(self) -> bytes:
        """What sets it and what ends it on the wire."""
        return f"{self.path}\0{self.token}\0".encode()


class StoreClient:
    """Its methods are called, and call back, in the hypervisor thread, except for :meth:`connect`.

    ``deliver`` runs a call in that thread, from the I/O thread that runs ``loop``.
    """

    def __init__(self, loop: EventLoop, deliver: Callable[[Callable[[], None]], None]) -> None:
        self._loop = loop
        self._deliver = deliver
        self._tokens = itertools.count(1)
        # The I/O thread's alone.
        self._daemon = DaemonLink(loop, self._take)
        self._numbers = itertools.count(1)
        self._unanswered: dict[int, tuple[bytes, Reply]] = {}
        self._watches: dict[str, Watch] = {}

    def connect(self, sock: socket.socket) -> None:
        """Go on over a new socket to a xenstore daemon, in place of any other; owns it. I/O thread.

        Every watch fires once.
        """
        again = [encode(MessageType.WATCH, 0, 0, watch.payload) for watch in self._watches.values()]
        unanswered = [data for data, _ in self._unanswered.values()]
        self._daemon.connect(sock, [*again, *unanswered])

    def write(self, path: str, value: str) -> None:
        """Set a node's value; nothing happens where its directory is gone."""
        payload = path.encode() + b"\0" + value.encode()
        self._loop.post(lambda: self._request(MessageType.WRITE, payload, _ignore))

    def snapshot(self, path: str, then: Callable[[Nodes | None], None]) -> None:
        """Read all nodes below a path, two levels deep; None if there is no such node."""
        deliver = self._deliver
        self._loop.post(lambda: _Snapshot(self, path, lambda n: deliver(lambda: then(n))).start())

    def watch(self, path: str, changed: Callable[[], None]) -> Watch:
        """Have ``changed`` called now, and whenever something at or below a path changes."""
        watch = Watch(path, str(next(self._tokens)), changed)
        self._loop.post(lambda: self._add_watch(watch))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch; it is not heard of any more."""
        watch.end()
        self._loop.post(lambda: self._remove_watch(watch))

    def _add_watch(self, watch: Watch) -> None:
        self._watches[watch.token] = watch
        self._request(MessageType.WATCH, watch.payload, _ignore)

    def _remove_watch(self, watch: Watch) -> None:
        del self._watches[watch.token]
        self._request(MessageType.UNWATCH, watch.payload, _ignore)

    def ask(self, kind: MessageType, path: str, reply: Reply) -> None:
        """Send a request that is only a path; ``reply`` is called in the I/O thread, as this is."""
        self._request(kind, path.encode() + b"\0", reply)

    def _request(self, kind: MessageType, payload: bytes, reply: Reply) -> None:
        number = next(self._numbers) % (1 << 32)
        data = encode(kind, number, 0, payload)
        self._unanswered[number] = data, reply
        self._daemon.send(data)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            self._take_one(message)

    def _take_one(self, message: Message) -> None:
        if message.type == MessageType.WATCH_EVENT:
            _, token, *_ = [*strings(message.payload), b"", b""]
            watch = self._watches.get(token.decode("ascii", "replace"))
            if watch is not None:
                self._deliver(watch.fire)
            return
        _, reply = self._unanswered.pop(message.request_id, (b"", _ignore))
        reply(None if message.type == MessageType.ERROR else message.payload)


def _ignore(_payload: bytes | None) -> None:
    """Nothing depends on the answer."""


class _Snapshot:
    """Reads a directory level by level, all requests of a level at once; in the I/O thread."""

    def __init__(
        self, client: StoreClient, root: str, then: Callable[[Nodes | None], None]
    ) -> None:
        self._client = client
        self._root = root
        self._then = then
        self._nodes: dict[str, str] = {}
        self._asked = 0
        self._waiting = 0
        self._exists = False

    def start(self) -> None:
        self._list("", _SNAPSHOT_DEPTH)

    def _list(self, name: str, depth: int) -> None:
        def listed(payload: bytes | None) -> None:
            if name == "":
                self._exists = payload is not None
            for child in strings(payload or b""):
                self._visit(f"{name}/{child.decode('ascii', 'replace')}", depth - 1)

        self._ask(MessageType.DIRECTORY, name, listed)

    def _visit(self, name: str, depth: int) -> None:
        if self._asked > 2 * _SNAPSHOT_NODES:
            return

        def read(payload: bytes | None) -> None:
            if payload is not None:
                self._nodes[name[1:]] = payload.decode("utf-8", "replace")

        self._ask(MessageType.READ, name, read)
        if depth:
            self._list(name, depth)

    def _ask(self, kind: MessageType, name: str, reply: Reply) -> None:
        def answered(payload: bytes | None) -> None:
            reply(payload)
            self._waiting -= 1
            if not self._waiting:
                self._then(self._nodes if self._exists else None)

        self._asked += 1
        self._waiting += 1
        self._client.ask(kind, self._root + name, answered)
