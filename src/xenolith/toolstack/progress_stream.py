"""How far long work in a domain's process has come, and how it ended, as `xl` is told over a socket.

A line of JSON each: ``[done, total]`` in bytes, in the end ``{"failure": null}`` or a sentence.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress

from xenolith.storage.progress import Progress
from xenolith.toolstack.client import ToolstackError

_CHUNK = 4096


class ProgressSender:
    """The end of whoever works: a Progress, which raises OSError once nobody reads any more.

    It sends a line per per cent, which the socket takes even if nobody reads.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Tell that there is more done."""
        percent = 100 * done // total if total else 100
        if percent > self._shown:
            self._shown = percent
            self._send([done, total])

    def end(self, failure: str | None) -> None:
        """Tell how it ended, None: well; close the socket."""
        with suppress(OSError), self._socket:
            self._send({"failure": failure})

    def _send(self, what: object) -> None:
        self._socket.sendall(json.dumps(what).encode() + b"\n")


def follow(stream: socket.socket, progress: Progress) -> None:
    """Report what a ProgressSender sends until all who have its socket are done; ToolstackError."""
    rest = b""
    failure: str | None = "the domain has ended"
    while data := stream.recv(_CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if isinstance(told, list):
                progress(*told)
            else:
                failure = told["failure"]
    if failure is not None:
        raise ToolstackError(failure)
