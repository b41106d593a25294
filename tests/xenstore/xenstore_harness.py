"""Clients of a store without sockets, a store that runs deferred calls when told, and a server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import MessageType
from xenolith.xenstore.connection import Connection
from xenolith.xenstore.database import Database
from xenolith.xenstore.journal import Journal
from xenolith.xenstore.protocol import Message, MessageParser, encode, strings
from xenolith.xenstore.session import Session
from xenolith.xenstore.store import Store
from xenolith.xenstore.tools.client import Client

Reply = bytes | Errno


class Harness:
    """A store and the calls that it deferred; ``restart`` makes a new store of the journal."""

    def __init__(self, directory: Path | None = None) -> None:
        self.journal = None if directory is None else directory / "journal"
        self.deferred: list[Callable[[], None]] = []
        self.store = self._open()

    @property
    def database(self) -> Database:
        return self.store.database

    def restart(self) -> None:
        """Go on with what the journal remembers, as after a kill."""
        self.store.close()
        self.store = self._open()

    def run_deferred(self) -> None:
        while self.deferred:
            self.deferred.pop(0)()

    def client(self, domid: int = 0) -> FakeClient:
        """A program of domain 0, or a domain, which is introduced if need be."""
        if domid == 0:
            return FakeClient(self.database, Session(self.database.domains.dom0))
        return FakeClient(self.database, self.database.introduce(domid).session)

    def _open(self) -> Store:
        journal = None if self.journal is None else Journal(str(self.journal))
        return Store(Database(journal), self.deferred.append)


class FakeClient:
    """Speaks the wire protocol with a connection by function call."""

    def __init__(self, database: Database, session: Session) -> None:
        self.session = session
        self.closed = False
        self.events: list[tuple[str, str]] = []
        self._parser = MessageParser()
        self.connection = Connection(database, session, lambda: None)
        session.attach(self.connection.hear, self._close)

    def _close(self) -> None:
        self.closed = True

    def send(self, data: bytes) -> list[Message]:
        """Send bytes; return all messages that come back."""
        self.connection.receive(data)
        messages: list[Message] = []
        while self.connection.busy or self.connection.pending:
            self.connection.serve(8)
            messages += self.pull()
        return messages

    def pull(self) -> list[Message]:
        """The messages that wait for the client; none of them is a request's business."""
        messages: list[Message] = []
        while self.connection.pending:
            output = self.connection.output()
            self.connection.sent(len(output))
            messages += self._parser.feed(output)
        return messages

    def ask(self, kind: int, payload: bytes = b"", transaction: int = 0) -> Reply:
        """The payload of the reply to one request, or its error; events are collected."""
        answer: Reply | None = None
        for message in self.send(encode(kind, 7, transaction, payload)):
            if message.type == MessageType.WATCH_EVENT:
                self._note(message)
            elif message.type == MessageType.ERROR:
                answer = Errno[message.payload[:-1].decode()]
            else:
                assert (message.type, message.request_id) == (kind, 7)
                assert message.transaction_id == transaction
                answer = message.payload
        assert answer is not None
        return answer

    def new_events(self) -> list[tuple[str, str]]:
        """Events that came since the last call."""
        for message in self.pull():
            assert message.type == MessageType.WATCH_EVENT
            self._note(message)
        events, self.events = self.events, []
        return events

    def read(self, path: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.READ, text(path), transaction)

    def write(self, path: str, value: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.WRITE, text(path) + value.encode(), transaction)

    def mkdir(self, path: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.MKDIR, text(path), transaction)

    def rm(self, path: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.RM, text(path), transaction)

    def directory(self, path: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.DIRECTORY, text(path), transaction)

    def get_perms(self, path: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.GET_PERMS, text(path), transaction)

    def set_perms(self, path: str, *permissions: str, transaction: int = 0) -> Reply:
        return self.ask(MessageType.SET_PERMS, text(path, *permissions), transaction)

    def watch(self, path: str, token: str, *depth: str) -> Reply:
        return self.ask(MessageType.WATCH, text(path, token, *depth))

    def unwatch(self, path: str, token: str) -> Reply:
        return self.ask(MessageType.UNWATCH, text(path, token))

    def start(self) -> int:
        answer = self.ask(MessageType.TRANSACTION_START, b"\0")
        assert isinstance(answer, bytes)
        return int(answer[:-1])

    def commit(self, transaction: int) -> Reply:
        return self.ask(MessageType.TRANSACTION_END, b"T\0", transaction)

    def abandon(self, transaction: int) -> Reply:
        return self.ask(MessageType.TRANSACTION_END, b"F\0", transaction)

    def _note(self, message: Message) -> None:
        path, token = strings(message.payload)
        self.events.append((path.decode(), token.decode()))


def text(*parts: str) -> bytes:
    """Strings as a payload has them."""
    return b"".join(part.encode() + b"\0" for part in parts)


SERVER = """
import socket
import sys
from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore.server import Server
from xenolith.xenstore.store import Store

loop = EventLoop()
store = Store.open(sys.argv[1] + "/journal", loop.post)
server = Server(loop, store)
server.listen(sys.argv[1] + "/socket")
for domid, fd in zip(sys.argv[2::2], sys.argv[3::2]):
    store.introduce_domain(int(domid))
    server.attach_domain(int(domid), socket.socket(fileno=int(fd)))
print("ready", flush=True)
loop.run()
"""


class ServerProcess:
    """xenstored in a process of its own; the store's journal and socket are in ``directory``.

    ``guests`` are domids to introduce and attach; their ends are in :attr:`guests`.
    """

    def __init__(
        self,
        directory: Path,
        guests: Sequence[int] = (),
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.socket = str(directory / "socket")
        self.guests: dict[int, Client] = {}
        arguments, sockets = [str(directory)], []
        for domid in guests:
            ours, theirs = socket.socketpair()
            self.guests[domid] = Client(ours)
            sockets.append(theirs)
            arguments += [str(domid), str(theirs.fileno())]
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[sock.fileno() for sock in sockets],
            preexec_fn=prepare,  # noqa: PLW1509
        )
        for sock in sockets:
            sock.close()
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As the kernel does it: no last word."""
        self._process.kill()
        self._process.communicate()
        for guest in self.guests.values():
            guest.close()

    def connect(self) -> Client:
        return Client.connect(self.socket)
