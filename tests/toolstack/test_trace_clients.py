"""Lines of a trace on their way to people who read fast, slowly, or not at all."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack import trace_clients
from xenolith.toolstack.trace_clients import TraceClients

from .host import read_to_end


def settle(loop: EventLoop) -> None:
    loop.call_later(0.02, loop.stop)
    loop.run()


def attached(clients: TraceClients) -> socket.socket:
    ours, theirs = socket.socketpair()
    clients.begin(clients.attach(ours))
    return theirs


def drained(loop: EventLoop, clients: TraceClients, reader: socket.socket) -> list[str]:
    """The lines that a reader who wakes up now gets until the end."""
    data: list[bytes] = []
    thread = threading.Thread(target=lambda: data.append(read_to_end(reader)))
    thread.start()
    clients.drain(lambda: loop.post(loop.stop))
    loop.run()
    thread.join()
    return data[0].decode().splitlines()


def write_from_the_hypervisor(clients: TraceClients, lines: int) -> None:
    thread = threading.Thread(
        target=lambda: [clients.write(f"line {number} {'x' * 60}") for number in range(lines)]
    )
    thread.start()
    thread.join()


def test_a_reader_that_pauses_loses_nothing(loop: EventLoop) -> None:
    clients = TraceClients(loop)
    with attached(clients) as reader:
        write_from_the_hypervisor(clients, 50_000)
        settle(loop)
        lines = drained(loop, clients, reader)
    assert [line.split()[1] for line in lines] == [str(number) for number in range(50_000)]


def test_what_is_too_much_is_counted(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_clients, "BACKLOG", 100_000)
    clients = TraceClients(loop)
    with attached(clients) as reader:
        for _ in range(100):
            write_from_the_hypervisor(clients, 300)
            settle(loop)
        reader.setblocking(False)
        early = reader.recv(1 << 20)
        settle(loop)
        write_from_the_hypervisor(clients, 300)
        reader.setblocking(True)
        lines = early.decode() + "\n".join(drained(loop, clients, reader))
    notes = re.findall(r"^\[(\d+) lines are missing here\]$", lines, re.MULTILINE)
    assert 1 <= len(notes) <= 3
    shown = len(re.findall(r"^line \d+ x{60}$", lines, re.MULTILINE))
    assert shown + sum(map(int, notes)) == 101 * 300
    assert len(lines) < 1_500_000


def test_each_reader_begins_when_it_comes(loop: EventLoop) -> None:
    clients = TraceClients(loop)
    with attached(clients) as first:
        clients.write("one")
        with attached(clients) as second:
            clients.write("two")
            settle(loop)
            assert (first.recv(100), second.recv(100)) == (b"one\ntwo\n", b"two\n")
        settle(loop)
        assert drained(loop, clients, first) == []


def test_nobody_is_left(loop: EventLoop) -> None:
    clients = TraceClients(loop)
    reader = attached(clients)
    assert clients.write("one")
    settle(loop)
    reader.close()
    settle(loop)
    assert not clients.write("two")


def test_a_reader_that_is_stuck_is_given_up(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_clients, "DRAIN_S", 0.1)
    clients = TraceClients(loop)
    with attached(clients):
        write_from_the_hypervisor(clients, 50_000)
        clients.drain(lambda: loop.post(loop.stop))
        loop.run()
    assert not clients.write("more")
