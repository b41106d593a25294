"""What the tests of NBD share: an image in memory, a server on a socket, a client by hand."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xenolith.storage.image import Extent
from xenolith.storage.nbd import options, protocol, stream
from xenolith.storage.nbd.client import NbdImage, connect_unix
from xenolith.storage.nbd.constants import Command, Option
from xenolith.storage.nbd.protocol import Request
from xenolith.storage.nbd.server import Server

BLOCK = 64 << 10


class MemoryImage:
    """An image in memory, allocated in blocks of 64 KiB; its faults are set by the tests."""

    def __init__(self, size: int, *, read_only: bool = False) -> None:
        self.data = bytearray(size)
        self.allocated = [False] * -(-size // BLOCK)
        self.read_only = read_only
        self.failure: OSError | None = None
        """What every call raises while it is set."""
        self.gate = threading.Event()
        """Reads wait for it."""
        self.gate.set()
        self.reading = threading.Semaphore(0)
        """Released by every read that begins."""
        self.flushes = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        self.reading.release()
        self.gate.wait()
        self._fail()
        for buffer in buffers:
            buffer[:] = self.data[offset : offset + len(buffer)]
            offset += len(buffer)

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        if not self.gate.is_set():
            return False
        self.readv(buffers, offset)
        return True

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        self._fail(writing=True)
        for buffer in buffers:
            self.data[offset : offset + len(buffer)] = buffer
            self._allocate(offset, len(buffer))
            offset += len(buffer)

    def write_zeroes(self, offset: int, length: int) -> None:
        self._fail(writing=True)
        self.data[offset : offset + length] = bytes(length)

    def discard(self, offset: int, length: int) -> None:
        self.write_zeroes(offset, length)
        for block in range(-(-offset // BLOCK), (offset + length) // BLOCK):
            self.allocated[block] = False

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._fail()
        end = offset + length
        while offset < end:
            run = min(end, (offset // BLOCK + 1) * BLOCK) - offset
            allocated = self.allocated[offset // BLOCK]
            yield Extent(run, allocated, zero=not allocated)
            offset += run

    def flush(self) -> None:
        self._fail()
        self.flushes += 1

    def close(self) -> None:
        pass

    def _allocate(self, offset: int, length: int) -> None:
        for block in range(offset // BLOCK, -(-(offset + length) // BLOCK)):
            self.allocated[block] = True

    def _fail(self, *, writing: bool = False) -> None:
        if self.failure is not None:
            raise self.failure
        if writing and self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@contextmanager
def serving(image: MemoryImage, path: Path, name: str = "disk") -> Iterator[Server]:
    """Serve an image on a unix socket while the block runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        server = Server(image, name, "a test's")
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            image.gate.set()
            server.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def client_of(path: Path, export: str = "disk") -> Iterator[NbdImage]:
    """An image of ours over a server's socket."""
    image = NbdImage(connect_unix(path), export)
    try:
        yield image
    finally:
        image.close()


def read(image: NbdImage, offset: int, length: int) -> bytes:
    data = bytearray(b"?" * length)
    image.readv([memoryview(data)], offset)
    return bytes(data)


def write(image: NbdImage, offset: int, data: bytes) -> None:
    image.writev([memoryview(data)], offset)


class Peer:
    """A client by hand, which can break every rule."""

    def __init__(self, path: Path) -> None:
        self.socket = connect_unix(path)
        self.socket.settimeout(10)
        self.receive(options.GREETING_SIZE)

    def receive(self, length: int) -> bytes:
        return stream.receive_exactly(self.socket, length)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, option: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Send an option; the kinds and contents of its replies, the last one included."""
        self.send(
            options.encode_option(Option.ABORT, data).replace(
                Option.ABORT.to_bytes(4, "big"), option.to_bytes(4, "big"), 1
            )
        )
        replies: list[tuple[int, bytes]] = []
        while not replies or 1 < replies[-1][0] < 1 << 31:
            answer = options.decode_option_reply(self.receive(options.OPTION_REPLY_SIZE))
            assert answer.option == option
            replies.append((answer.kind, self.receive(answer.length)))
        return replies

    def go(self, *, structured: bool = False, allocation: bool = False) -> None:
        """Enter transmission on the default export."""
        self.send(options.encode_client_flags(3))
        if structured:
            assert self.ask(Option.STRUCTURED_REPLY) == [(1, b"")]
        if allocation:
            query = options.encode_meta_context_query("", ["base:allocation"])
            assert len(self.ask(Option.SET_META_CONTEXT, query)) == 2
        assert self.ask(Option.GO, options.encode_go("", []))[-1][0] == 1

    def request(
        self, command: int, offset: int = 0, length: int = 0, flags: int = 0, data: bytes = b""
    ) -> int:
        """Send a request and receive its simple reply; the error."""
        self.send(protocol.encode_request(Request(flags, command, 7, offset, length)) + data)
        reply = protocol.decode_reply(self.receive(protocol.REPLY_SIZE))
        assert reply.cookie == 7
        if command == Command.READ and not reply.error:
            self.receive(length)
        return reply.error

    def is_sent_away(self) -> bool:
        """Whether the server hangs up."""
        try:
            return not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()
