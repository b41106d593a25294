"""Requests per second of xenstored: one client, one request at a time, over the socket.

A server process with its journal on holds 10,000 nodes and 1,000 watches. Prints a table; exits
with 1 if a figure is below what docs/xenstore.md promises.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xenolith.machine.event_loop import EventLoop
from xenolith.xenstore.server import Server
from xenolith.xenstore.store import Store

DOMAINS = 250
LEAVES = 38
WATCHES_PER_DOMAIN = 4
SECONDS = 3.0

READ, TRANSACTION_START, TRANSACTION_END, WRITE = 2, 6, 7, 11
HEADER = struct.Struct("<IIII")

PROMISED = {"read": 10_000, "write": 5_000, "transaction": 2_000}


def fill(store: Store) -> None:
    """Give the store 10,000 nodes (40 for each domain) and 1,000 watches."""
    for domid in range(1, DOMAINS + 1):
        for leaf in range(LEAVES):
            store.write(f"/local/domain/{domid}/device/{leaf}", f"value {leaf}")
        for leaf in range(WATCHES_PER_DOMAIN):
            store.watch(f"/local/domain/{domid}/device/{leaf}", lambda _path: None)


def serve(directory: Path, ready: int) -> None:
    loop = EventLoop()
    store = Store.open(str(directory / "journal"), loop.post)
    fill(store)
    Server(loop, store).listen(str(directory / "socket"))
    os.write(ready, b"1")
    loop.run()


def request(sock: socket.socket, kind: int, transaction: int, payload: bytes) -> bytes:
    sock.sendall(HEADER.pack(kind, 1, transaction, len(payload)) + payload)
    reply = sock.recv(8192)
    if HEADER.unpack_from(reply)[0] != kind:
        raise RuntimeError(reply)
    return reply[HEADER.size :]


def path(count: int) -> bytes:
    return b"/local/domain/%d/device/%d\0" % (1 + count % DOMAINS, count % LEAVES)


def read(sock: socket.socket, count: int) -> None:
    request(sock, READ, 0, path(count))


def write(sock: socket.socket, count: int) -> None:
    request(sock, WRITE, 0, path(count) + b"value %d" % count)


def transaction(sock: socket.socket, count: int) -> None:
    started = int(request(sock, TRANSACTION_START, 0, b"\0")[:-1])
    request(sock, WRITE, started, path(count) + b"value %d" % count)
    request(sock, TRANSACTION_END, started, b"T\0")


def rate(operation: Callable[[socket.socket, int], None], sock: socket.socket) -> float:
    """Operations per second, over :data:`SECONDS` seconds."""
    begin = time.perf_counter()
    end = begin + SECONDS
    count = 0
    while time.perf_counter() < end:
        for _ in range(100):
            operation(sock, count)
            count += 1
    return count / (time.perf_counter() - begin)


def measure() -> dict[str, float]:
    """Operations per second of a server of its own, by the names of :data:`PROMISED`."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        reader, writer = os.pipe()
        server = os.fork()
        if server == 0:
            os.close(reader)
            serve(directory, writer)
            os._exit(0)
        os.close(writer)
        try:
            if os.read(reader, 1) != b"1":
                raise RuntimeError("the server did not start")
            os.close(reader)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(directory / "socket"))
                return {
                    "read": rate(read, sock),
                    "write": rate(write, sock),
                    "transaction": rate(transaction, sock),
                }
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)


def main() -> int:
    rates = measure()
    print(f"{'operation':12} {'per second':>12} {'promised':>12}")
    for operation, measured in rates.items():
        print(f"{operation:12} {measured:12,.0f} {PROMISED[operation]:12,}")
    return int(any(rates[operation] < least for operation, least in PROMISED.items()))


if __name__ == "__main__":
    sys.exit(main())
