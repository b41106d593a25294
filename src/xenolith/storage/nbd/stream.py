"""Whole messages over a blocking stream socket: scattered and gathered, without copies of data."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Generator, Sequence
from typing import TypeVar

from xenolith.storage.vector import advance, total

T = TypeVar("T")

Handshake = Generator[int | bytes, bytes, T]
"""A conversation without any input or output: it yields bytes to send, or the number of bytes that
it wants to be sent, and returns what was agreed upon."""

_IOV_MAX = os.sysconf("SC_IOV_MAX")
_SOCKET_BUFFER = 4 << 20


def prepare(sock: socket.socket) -> None:
    """Have a socket, of either side, pass requests on at once and hold a few of them."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)


def converse(handshake: Handshake[T], sock: socket.socket) -> T:
    """Hold a conversation with the peer; OSError when it goes, and what the handshake raises."""
    received: bytes | None = None
    while True:
        try:
            # A generator that has not started takes nothing but None.
            step = next(handshake) if received is None else handshake.send(received)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, int):
            received = receive_exactly(sock, step)
        else:
            sock.sendall(step)
            received = b""


def receive_exactly(sock: socket.socket, length: int) -> bytes:
    """The next ``length`` bytes; ConnectionResetError if the peer goes before them."""
    data = bytearray(length)
    receive_into(sock, [memoryview(data)])
    return bytes(data)


def receive_into(sock: socket.socket, buffers: Sequence[memoryview]) -> None:
    """Fill all buffers with the next bytes; ConnectionResetError if the peer goes before that."""
    missing = total(buffers)
    while missing:
        count = sock.recvmsg_into(buffers[:_IOV_MAX], 0, socket.MSG_WAITALL)[0]
        if not count:
            raise ConnectionResetError(errno.ECONNRESET, "the peer has closed the connection")
        missing -= count
        if missing:
            buffers = advance(buffers, count)


def send(sock: socket.socket, buffers: Sequence[bytes | memoryview]) -> None:
    """Send all buffers, one after the other."""
    missing = sum(map(len, buffers))
    while missing:
        count = sock.sendmsg(buffers[:_IOV_MAX])
        missing -= count
        if missing:
            buffers = advance([memoryview(buffer) for buffer in buffers], count)
