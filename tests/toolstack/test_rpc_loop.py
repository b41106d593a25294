"""The non-blocking connection, over real sockets and the real event loop."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xenolith.machine.event_loop import EventLoop
from xenolith.toolstack import rpc, rpc_loop
from xenolith.toolstack.rpc_loop import Listener, LoopConnection, Request


class Ends:
    """Two connections of one loop, with what each of them saw."""

    def __init__(self, loop: EventLoop) -> None:
        ours, theirs = socket.socketpair()
        self.serve: Callable[[Request], None] = lambda request: request.reply(request.params)
        self.closed: list[str] = []
        self.loop = loop
        self.caller = LoopConnection(loop, ours, self._refuse, self._closed("caller"))
        self.server = LoopConnection(loop, theirs, self._serve, self._closed("server"))

    def _serve(self, request: Request) -> None:
        self.serve(request)

    def _refuse(self, request: Request) -> None:
        request.fail("nothing here", rpc.METHOD_NOT_FOUND)

    def _closed(self, name: str) -> Callable[[], None]:
        def closed() -> None:
            self.closed.append(name)
            if len(self.closed) == 2:
                self.loop.stop()

        return closed

    def call(self, method: str, params: rpc.Body, fds: tuple[int, ...] = ()) -> Any:
        answers: list[Any] = []

        def answered(result: Any, received: list[int]) -> None:
            answers.append((result, received))
            self.loop.stop()

        self.caller.call(method, params, answered, fds)
        self.loop.run()
        (answer,) = answers
        return answer


@pytest.fixture
def ends(loop: EventLoop) -> Iterator[Ends]:
    both = Ends(loop)
    yield both
    both.caller.close()
    both.server.close()
    loop.call_later(0, loop.stop)
    loop.run()


def test_a_call_is_answered(ends: Ends) -> None:
    assert ends.call("echo", {"x": [1, 2]}) == ({"x": [1, 2]}, [])


def test_a_failure_arrives_as_an_error(ends: Ends) -> None:
    ends.serve = lambda request: request.fail("No such domain")
    error, _ = ends.call("destroy", {})
    assert isinstance(error, rpc.RemoteError)
    assert str(error) == "No such domain"


def test_both_ends_may_call(ends: Ends, loop: EventLoop) -> None:
    seen: list[str] = []

    def answered(result: Any, _fds: list[int]) -> None:
        seen.append(str(result))
        loop.stop()

    ends.server.call("back", {}, answered)
    loop.run()
    assert seen == ["nothing here"]


def test_descriptors_travel_and_the_senders_copies_are_closed(ends: Ends) -> None:
    def take(request: Request) -> None:
        os.write(request.fds[0], b"through")
        request.reply("taken", request.fds)

    ends.serve = take
    reader, writer = os.pipe()
    result, fds = ends.call("take", {}, (writer,))
    rpc.close_all(fds)
    with os.fdopen(reader, "rb") as pipe:
        assert (result, pipe.read()) == ("taken", b"through")


def test_large_messages_pass_through_full_buffers(ends: Ends) -> None:
    text = "x" * (rpc.MAX_MESSAGE - 1000)
    assert ends.call("echo", {"text": text})[0] == {"text": text}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("body", [{"id": 1, "result": None}, {"method": "log", "params": {}}])
def test_a_peer_that_hands_in_descriptors_unasked_is_given_up(
    loop: EventLoop, body: rpc.Body
) -> None:
    """A process that its guest has taken over could use all of the daemon's up."""
    ours, theirs = socket.socketpair()
    before = open_files()
    served: list[Request] = []
    connection = LoopConnection(loop, ours, served.append, loop.stop, max_fds=0)
    answers: list[object] = []
    connection.call("pause", {}, lambda result, _fds: answers.append(result))
    socket.send_fds(theirs, [rpc.encode(body, 3)], [0, 1, 2])
    loop.run()
    assert not served and isinstance(answers[0], rpc.ProtocolError)
    assert open_files() == before - 1
    theirs.close()


def test_a_call_over_a_connection_that_is_closed_fails(ends: Ends, loop: EventLoop) -> None:
    ends.caller.close()
    loop.call_later(0, loop.stop)
    loop.run()
    error, _ = ends.call("echo", {})
    assert isinstance(error, rpc.ProtocolError)


def test_a_call_fails_when_the_peer_closes(ends: Ends) -> None:
    ends.serve = lambda _request: ends.server.close()
    error, _ = ends.call("anything", {})
    assert isinstance(error, rpc.ProtocolError)


def test_a_peer_that_never_reads_is_given_up(loop: EventLoop) -> None:
    ours, theirs = socket.socketpair()
    connection = LoopConnection(loop, ours, lambda _request: None, loop.stop)
    with theirs:
        for _ in range(20):
            connection.notify("flood", {"text": "x" * (rpc.MAX_MESSAGE - 1000)})
        loop.run()
    assert connection.closed


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"id":[],"result":1}\n', b'{"id":9}\n'])
def test_a_peer_that_breaks_the_protocol_is_given_up(loop: EventLoop, line: bytes) -> None:
    ours, theirs = socket.socketpair()
    connection = LoopConnection(loop, ours, lambda _request: None, loop.stop)
    with theirs:
        theirs.send(line)
        loop.run()
    assert connection.closed


def test_a_listener_replaces_a_stale_socket_and_serves_many(
    loop: EventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    rpc_loop.listen(path).close()
    connections: list[LoopConnection] = []
    served: list[int] = []

    def accept(sock: socket.socket) -> None:
        connections.append(LoopConnection(loop, sock, serve, lambda: None))

    def serve(request: Request) -> None:
        request.reply(request.params["n"])
        served.append(request.params["n"])
        if len(served) == 40:
            loop.stop()

    listener = Listener(loop, rpc_loop.listen(path), accept)
    results: list[int] = []

    def client(number: int) -> None:
        connection = rpc.Connection.connect(path)
        results.append(connection.call("n", {"n": number})[0])
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    listener.close()
    for connection in connections:
        connection.close()
    assert sorted(results) == list(range(40))
