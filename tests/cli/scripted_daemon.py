"""The daemon's end of the RPC with answers laid down by a test: for what `xl` asks, and when."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from xenolith.toolstack import paths, rpc
from xenolith.toolstack.records import DomainInfo

Answer = Callable[..., Any]


def domain(domid: int, name: str, **changes: Any) -> DomainInfo:
    """A domain that blocks, as most do most of the time."""
    usual = DomainInfo(
        domid=domid,
        name=name,
        uuid=f"00000000-0000-0000-0000-{domid:012x}",
        memory_kib=262144,
        max_memory_kib=262144,
        vcpus=1,
        max_vcpus=1,
        running=False,
        blocked=True,
        paused=False,
        shutdown=False,
        crashed=False,
        dying=False,
        shutdown_reason=None,
        cpu_time_ns=0,
        cpupool="Pool-0",
        start_time=0.0,
    )
    return usual._replace(**changes)


class RefusalError(Exception):
    """Makes the daemon answer with an error."""


class ScriptedDaemon:
    """Serves the RPC on the daemon's socket from a thread, and keeps the calls."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []
        os.makedirs(os.path.dirname(paths.daemon_socket()), exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(paths.daemon_socket())
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def called(self, *without: str) -> list[tuple[str, dict[str, Any]]]:
        """The calls so far, those of some methods left out."""
        return [call for call in self.calls if call[0] not in without]

    def close(self) -> None:
        """Stop; the connections must have been closed by the clients."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=[client]))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        decoder = rpc.Decoder()
        # An interrupted client may leave without having read an answer.
        with client, suppress(ConnectionResetError):
            while data := client.recv(1 << 16):
                for message in decoder.feed(data):
                    self._answer(client, message.body)

    def _answer(self, client: socket.socket, body: dict[str, Any]) -> None:
        self.calls.append((body["method"], body["params"]))
        fds: list[int] = []
        try:
            result = self.answers[body["method"]](**body["params"])
            if isinstance(result, socket.socket):
                fds = [result.detach()]
                result = None
            response = rpc.response(body["id"], result)
        except RefusalError as refusal:
            response = rpc.failure(body["id"], str(refusal))
        with suppress(BrokenPipeError):  # The client was interrupted.
            socket.send_fds(client, [rpc.encode(response, len(fds))], fds)
        rpc.close_all(fds)
