"""Console clients, over real sockets, a real log file and the real event loop."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack import console_clients
from xenolith.toolstack.console_clients import ConsoleClients
from xenolith.toolstack.console_log import ConsoleLog


class Console:
    """A console whose guest is the test."""

    def __init__(self, loop: EventLoop, fd: int) -> None:
        self.loop = loop
        self.log = ConsoleLog(fd)
        self.typed: list[bytes] = []
        self.peers: list[socket.socket] = []
        self.clients = ConsoleClients(loop, self.log, self._type)

    def _type(self, data: bytes) -> None:
        self.typed.append(data)

    def attach(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.clients.attach(ours)
        self.peers.append(theirs)
        return theirs

    def print(self, data: bytes) -> None:
        self.log.append(data)
        self.clients.show_new_output()

    def run_for(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run()

    def drain(self) -> None:
        self.clients.drain(lambda: self.loop.post(self.loop.stop))
        self.loop.run()


@pytest.fixture
def console(loop: EventLoop, tmp_path: Path) -> Iterator[Console]:
    fd = os.open(tmp_path / "guest.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    made = Console(loop, fd)
    yield made
    for peer in made.peers:
        peer.close()
    made.clients.drain(lambda: None)
    os.close(fd)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    return data


def test_every_client_gets_history_and_what_follows(console: Console) -> None:
    console.print(b"early\n")
    first = console.attach()
    console.print(b"middle\n")
    second = console.attach()
    console.print(b"late\n")
    console.drain()
    assert read_all(first) == read_all(second) == b"early\nmiddle\nlate\n"


def test_a_client_that_reads_late_misses_nothing_and_delays_nobody(console: Console) -> None:
    slow, fast = console.attach(), console.attach()
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(fast)))
    reader.start()
    for _ in range(100):
        console.print(b"x" * 40000)
    console.run_for(0.2)
    late = threading.Thread(target=lambda: received.append(read_all(slow)))
    late.start()
    console.drain()
    late.join()
    reader.join()
    assert list(map(len, received)) == [4_000_000] * 2


def test_typing_waits_until_the_guest_takes_it(console: Console) -> None:
    client = console.attach()
    client.send(b"ls\n")
    console.run_for(0.05)
    client.send(b"exit\n")
    console.run_for(0.05)
    assert console.typed == [b"ls\n"]
    console.clients.take_typing()
    console.run_for(0.05)
    assert console.typed == [b"ls\n", b"exit\n"]


@pytest.mark.parametrize("how", [socket.SHUT_WR, None])
def test_what_was_typed_before_leaving_arrives(console: Console, how: int | None) -> None:
    client = console.attach()
    client.send(b"a" * console_clients._TYPED_CHUNK + b"b")
    if how is None:
        client.close()
    else:
        client.shutdown(how)
    console.run_for(0.05)
    console.clients.take_typing()
    console.run_for(0.05)
    assert b"".join(console.typed)[-2:] == b"ab"
    if how is not None:
        console.print(b"still here")
        assert client.recv(100) == b"still here"


def test_a_client_that_left_while_typing_waits_costs_no_cpu(console: Console) -> None:
    client = console.attach()
    client.send(b"a" * console_clients._TYPED_CHUNK + b"b")
    console.run_for(0.05)
    client.close()
    before = os.times()
    console.run_for(0.3)
    after = os.times()
    assert (after.user + after.system) - (before.user + before.system) < 0.1


def test_typing_at_the_end_does_not_break_the_reader(console: Console) -> None:
    client = console.attach()
    console.print(b"bye\n")
    client.send(b"too late")
    console.drain()
    assert read_all(client) == b"bye\n"


def test_a_client_that_reads_nothing_is_given_up_after_the_end(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_clients, "DRAIN_S", 0.05)
    client = console.attach()
    console.print(b"x" * 4_000_000)
    console.drain()
    assert 0 < len(read_all(client)) < 4_000_000


def test_with_no_client_the_end_comes_at_once(console: Console) -> None:
    console.attach().close()
    console.run_for(0.05)
    ended: list[bool] = []
    console.clients.drain(lambda: ended.append(True))
    assert ended == [True]
