"""Sockets: who may connect, who is who, and that no client can harm the others."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from xenstore_harness import ServerProcess

from xenolith.abi.errno import Errno
from xenolith.abi.xs_wire import SOCKMSG, MessageType, SockMsg
from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.journal import Journal
from xenolith.xenstore.permissions import Permission
from xenolith.xenstore.protocol import encode
from xenolith.xenstore.server import Server
from xenolith.xenstore.store import Store
from xenolith.xenstore.tools.client import Client

T = TypeVar("T")


class ServerThread:
    """A server whose store the test uses, too, by calls in the loop's thread."""

    def __init__(self, directory: Path) -> None:
        self.loop = EventLoop()
        self.store = Store.open(str(directory / "journal"), self.loop.post)
        self.server = Server(self.loop, self.store)
        self.path = str(directory / "socket")
        self.server.listen(self.path)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def call(self, action: Callable[[], T]) -> T:
        """Run an action in the loop's thread; return its result or raise its exception."""
        done = threading.Event()
        results: list[T] = []
        errors: list[XenstoreError] = []

        def run() -> None:
            try:
                results.append(action())
            except XenstoreError as error:
                errors.append(error)
            done.set()

        self.loop.post(run)
        assert done.wait(10)
        if errors:
            raise errors[0]
        return results[0]

    def attach(self, domid: int) -> Client:
        """The domain's end of a new connection."""
        ours, theirs = socket.socketpair()
        self.call(lambda: self.server.attach_domain(domid, ours))
        return Client(theirs)

    def stop(self) -> None:
        self.loop.post(self.loop.stop)
        self._thread.join()
        self.server.close()
        self.store.close()
        self.loop.close()


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[ServerThread]:
    thread = ServerThread(tmp_path)
    yield thread
    thread.stop()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path)
    yield process
    process.kill()


def is_closed(client: Client) -> bool:
    """Whether the server has hung up, once all it sent is read."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            client.next_event()
    client.close()
    return True


def test_only_the_owner_can_connect(process: ServerProcess) -> None:
    assert os.stat(process.socket).st_mode & 0o777 == 0o600


def test_clients_are_domain_0(process: ServerProcess) -> None:
    client = process.connect()
    client.write("/a", b"x")
    client.set_permissions("/a", ["n5"])
    assert client.read("/a") == b"x"
    assert client.get_permissions("/a") == ["n5"]
    client.close()


def test_a_socket_left_by_a_dead_server_is_replaced(tmp_path: Path) -> None:
    ServerProcess(tmp_path).kill()
    assert (tmp_path / "socket").exists()
    second = ServerProcess(tmp_path)
    client = second.connect()
    assert client.directory("/") == ["tool"]
    client.close()
    second.kill()


def test_a_live_server_is_not_replaced(thread: ServerThread, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="another server listens") as caught:
        Server(thread.loop, thread.store).listen(thread.path)
    assert caught.value.errno == errno.EADDRINUSE
    client = Client.connect(thread.path)
    assert client.directory("/") == ["tool"]
    client.close()


def test_a_file_that_is_no_socket_is_not_replaced(thread: ServerThread, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("value")
    with pytest.raises(OSError, match="not a socket"):
        thread.server.listen(str(precious))
    assert precious.read_text() == "value"


def test_closing_removes_the_socket(tmp_path: Path) -> None:
    thread = ServerThread(tmp_path)
    client = Client.connect(thread.path)
    thread.stop()
    assert not Path(thread.path).exists()
    assert is_closed(client)


def test_a_domains_stream_is_the_domain(thread: ServerThread) -> None:
    thread.call(lambda: thread.store.introduce_domain(5))
    thread.call(lambda: thread.store.write("/local/domain/5/name", "guest"))
    thread.call(lambda: thread.store.set_permissions("/local/domain/5/name", [Permission(5, 0)]))
    guest = thread.attach(5)
    assert guest.read("name") == b"guest"
    with pytest.raises(XenstoreError, match="EACCES"):
        guest.write("/tool", b"x")
    guest.close()


def test_only_introduced_domains_are_served(thread: ServerThread) -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(XenstoreError, match="ENOENT"):
        thread.call(lambda: thread.server.attach_domain(5, ours))
    ours.close()
    theirs.close()


def test_a_domains_watches_outlast_its_stream(thread: ServerThread) -> None:
    thread.call(lambda: thread.store.introduce_domain(5))
    guest = thread.attach(5)
    guest.watch("@releaseDomain", "token")
    assert guest.next_event() == (b"@releaseDomain", b"token")
    guest.close()
    again = thread.attach(5)
    assert again.next_event() == (b"@releaseDomain", b"token")
    replaced = thread.attach(5)
    assert is_closed(again)
    assert replaced.next_event() == (b"@releaseDomain", b"token")
    thread.call(lambda: thread.store.introduce_domain(6))
    thread.call(lambda: thread.store.release_domain(6))
    assert replaced.next_event() == (b"@releaseDomain", b"token")
    replaced.close()


def test_a_release_closes_the_stream(thread: ServerThread) -> None:
    thread.call(lambda: thread.store.introduce_domain(5))
    guest = thread.attach(5)
    thread.call(lambda: thread.store.release_domain(5))
    assert is_closed(guest)


def test_a_domain_that_breaks_the_protocol_loses_its_stream_and_watches(
    thread: ServerThread,
) -> None:
    thread.call(lambda: thread.store.introduce_domain(5))
    ours, theirs = socket.socketpair()
    thread.call(lambda: thread.server.attach_domain(5, ours))
    watch = encode(MessageType.WATCH, 1, 0, b"@releaseDomain\0token\0")
    theirs.sendall(watch + SOCKMSG.pack(SockMsg(MessageType.READ, 2, 0, 5000)))
    while theirs.recv(4096):
        pass
    theirs.close()
    session = thread.store.database.domains.introduced(5).session
    assert thread.call(lambda: len(session.watches)) == 0


def test_a_full_disk_does_not_keep_a_stream_from_closing(
    thread: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread.call(lambda: thread.store.introduce_domain(5))
    guest = thread.attach(5)
    guest.watch("@releaseDomain", "token")

    def refuse(_self: Journal, _changes: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "append", refuse)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        guest.request(MessageType.READ, bytes(5000))
    guest.close()
    client = Client.connect(thread.path)
    assert client.directory("/") == ["tool"]
    client.close()


def test_programs_take_their_watches_and_transactions_along(thread: ServerThread) -> None:
    client = Client.connect(thread.path)
    client.watch("/", "token")
    transaction = client.start_transaction()
    client.write("/lost", b"x", transaction)
    client.close()
    probe = Client.connect(thread.path)
    probe.directory("/")
    assert thread.call(lambda: len(thread.store.database._watches._by_path)) == 0
    with pytest.raises(XenstoreError, match="ENOENT"):
        probe.read("/lost")
    probe.close()


def test_requests_sent_before_hanging_up_are_answered(process: ServerProcess) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(process.socket)
    reply = encode(MessageType.READ, 1, 0, b"")
    sock.sendall(encode(MessageType.READ, 1, 0, b"/tool\0") * 300)
    sock.shutdown(socket.SHUT_WR)
    replies = b""
    while data := sock.recv(65536):
        replies += data
    assert replies == reply * 300
    sock.close()


def test_a_flood_does_not_keep_others_waiting(process: ServerProcess) -> None:
    flood = 20_000
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(process.socket)
    request = encode(MessageType.WRITE, 1, 0, b"/flood\0value")
    reply_size = len(encode(MessageType.WRITE, 1, 0, b"OK\0"))
    sender = threading.Thread(target=lambda: sock.sendall(request * flood))
    received = [0]

    def drain() -> None:
        while received[0] < flood * reply_size:
            received[0] += len(sock.recv(65536))

    receiver = threading.Thread(target=drain)
    sender.start()
    receiver.start()
    client = process.connect()
    while not received[0]:
        time.sleep(0.001)
    for _ in range(20):
        client.directory("/")
    done = received[0] // reply_size
    sender.join()
    receiver.join()
    sock.close()
    client.close()
    assert done < flood / 2, f"{done} of {flood} requests came before 20 of another client"


def test_a_client_that_reads_nothing_is_dropped(process: ServerProcess) -> None:
    deaf, writer = process.connect(), process.connect()
    deaf.watch("/", "t" * 2000)
    before = _resident(process.pid)
    for number in range(4000):
        writer.write(f"/many/{number}", b"x")
    assert _resident(process.pid) - before < 24 << 20
    assert is_closed(deaf)
    writer.close()


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_client_that_reads_no_replies_is_not_read_from(process: ServerProcess) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(process.socket)
    sock.settimeout(1.0)
    before = _resident(process.pid)
    request = encode(MessageType.DIRECTORY, 1, 0, b"/\0") * 100
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += sock.send(request)
    assert _resident(process.pid) - before < 8 << 20
    sock.close()


def test_running_out_of_descriptors_only_delays(tmp_path: Path) -> None:
    process = ServerProcess(
        tmp_path, prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
    )
    clients = [process.connect() for _ in range(24)]
    assert clients[0].directory("/") == ["tool"]
    busy = _cpu_seconds(process.pid)
    time.sleep(0.5)
    assert _cpu_seconds(process.pid) - busy < 0.2
    for client in clients[:12]:
        client.close()
    assert clients[-1].directory("/") == ["tool"]
    for client in clients[12:]:
        client.close()
    process.kill()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_server_sleeps(process: ServerProcess) -> None:
    client = process.connect()
    client.watch("/", "token")
    busy = _cpu_seconds(process.pid)
    time.sleep(0.5)
    assert _cpu_seconds(process.pid) - busy <= 0.01
    client.close()


def test_an_unknown_error_name_is_einval() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(encode(MessageType.ERROR, 1, 0, b"ENONSENSE\0"))
    client = Client(theirs)
    with pytest.raises(XenstoreError) as caught:
        client.read("/a")
    assert caught.value.errno == Errno.EINVAL
    ours.close()
    client.close()
