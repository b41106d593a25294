"""An NBD export as an image: against our server, against servers that lie, and without any."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nbd_harness import BLOCK, MemoryImage, client_of, read, serving, write

from xenolith.storage.errors import ImageError
from xenolith.storage.image import Extent
from xenolith.storage.nbd import options, protocol, stream
from xenolith.storage.nbd.client import NbdImage, connect_tcp, connect_unix
from xenolith.storage.nbd.constants import Chunk, Command, NbdError, OptionReply, TransmissionFlag
from xenolith.storage.nbd.pipeline import ServerGone
from xenolith.storage.nbd.protocol import Request

SIZE = 4 << 20


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(SIZE)


@pytest.fixture
def path(image: MemoryImage, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "nbd.socket"
    with serving(image, path):
        yield path


@pytest.fixture
def client(path: Path) -> Iterator[NbdImage]:
    with client_of(path) as client:
        yield client


class TestAgainstOurServer:
    def test_what_is_written_is_read(self, client: NbdImage, image: MemoryImage) -> None:
        assert client.size == SIZE
        assert client.read_only is False
        parts = [memoryview(os.urandom(length)) for length in (512, BLOCK, 1024)]
        client.writev(parts, 512)
        assert image.data[512 : BLOCK + 2048] == b"".join(parts)
        filled = [memoryview(bytearray(length)) for length in (1024, BLOCK, 512)]
        client.readv(filled, 512)
        assert b"".join(filled) == b"".join(parts)
        assert client.readv_nowait(filled, 0) is False

    def test_holes_overwrite_what_the_memory_held(self, client: NbdImage) -> None:
        write(client, BLOCK, b"x" * BLOCK)
        assert read(client, 0, 3 * BLOCK) == bytes(BLOCK) + b"x" * BLOCK + bytes(BLOCK)

    def test_more_buffers_than_linux_takes_at_once(self, client: NbdImage) -> None:
        parts = [memoryview(os.urandom(512)) for _ in range(2048)]
        client.writev(parts, 0)
        filled = [memoryview(bytearray(512)) for _ in range(2048)]
        client.readv(filled, 0)
        assert filled == parts

    def test_transfers_larger_than_the_server_takes(self, tmp_path: Path) -> None:
        size = 65 << 20
        path = tmp_path / "large.socket"
        with serving(MemoryImage(size), path), client_of(path) as client:
            data = random.Random(1).randbytes(1 << 20) * 65
            write(client, 0, data)
            assert read(client, 0, size) == data

    def test_zeroes_discards_and_flushes(self, client: NbdImage, image: MemoryImage) -> None:
        write(client, 0, b"x" * 4 * BLOCK)
        client.write_zeroes(0, BLOCK)
        client.discard(BLOCK, 2 * BLOCK)
        client.flush()
        assert image.data[:BLOCK] == bytes(BLOCK)
        assert image.allocated[:4] == [True, False, False, True]
        assert image.flushes == 1

    def test_extents(self, client: NbdImage) -> None:
        write(client, BLOCK, b"x" * BLOCK)
        assert list(client.extents(0, SIZE)) == [
            Extent(BLOCK, allocated=False, zero=True),
            Extent(BLOCK, allocated=True, zero=False),
            Extent(SIZE - 2 * BLOCK, allocated=False, zero=True),
        ]
        assert list(client.extents(BLOCK + 512, 512)) == [Extent(512, allocated=True, zero=False)]

    @pytest.mark.parametrize(
        ("number", "seen"),
        [
            (errno.ENOSPC, errno.ENOSPC),
            (errno.EIO, errno.EIO),
            (errno.EROFS, errno.EROFS),
            (errno.ENODEV, errno.EIO),
        ],
    )
    def test_errors_arrive_and_the_image_stays_usable(
        self, client: NbdImage, image: MemoryImage, number: int, seen: int
    ) -> None:
        image.failure = OSError(number, "out of order")
        for call in (lambda: read(client, 0, 512), lambda: write(client, 0, bytes(512))):
            with pytest.raises(OSError, match="out of order") as caught:
                call()
            assert caught.value.errno == seen
        image.failure = None
        assert read(client, 0, 512) == bytes(512)

    def test_a_read_only_image(self, path: Path, client: NbdImage) -> None:
        with NbdImage(connect_unix(path), read_only=True) as ours:
            assert ours.read_only
            with pytest.raises(OSError, match="Read-only") as caught:
                write(ours, 0, bytes(512))
            assert caught.value.errno == errno.EROFS

    def test_an_export_that_does_not_exist(self, path: Path) -> None:
        with pytest.raises(ImageError, match=r"'other' of .*nbd.socket: .*no such export"):
            NbdImage(connect_unix(path), "other")

    def test_over_tcp(self, image: MemoryImage) -> None:
        from xenolith.storage.nbd.server import Server

        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = Server(image)
            thread = threading.Thread(target=server.serve, args=(listener,))
            thread.start()
            with NbdImage(connect_tcp(*listener.getsockname())) as client:
                write(client, 0, b"over tcp" * 64)
                assert read(client, 0, 512) == b"over tcp" * 64
            server.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class TestThreads:
    def test_many_threads_keep_apart(self, client: NbdImage) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            generator = random.Random(number)
            base = number * (SIZE // 8)
            mine = bytearray(SIZE // 8)
            try:
                for _ in range(60):
                    start = generator.randrange(0, len(mine) - BLOCK, 512)
                    length = generator.randrange(512, BLOCK, 512)
                    if generator.random() < 0.5:
                        mine[start : start + length] = generator.randbytes(length)
                        write(client, base + start, bytes(mine[start : start + length]))
                    else:
                        assert read(client, base + start, length) == mine[start : start + length]
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not failures

    def test_requests_overtake_one_that_takes_long(
        self, client: NbdImage, image: MemoryImage
    ) -> None:
        image.gate.clear()
        slow = threading.Thread(target=read, args=(client, 0, 512))
        slow.start()
        assert image.reading.acquire(timeout=10)
        write(client, 512, b"y" * 512)
        client.flush()
        assert slow.is_alive()
        image.gate.set()
        slow.join(10)
        assert not slow.is_alive()

    def test_when_the_server_goes_every_caller_hears_of_it(
        self, image: MemoryImage, tmp_path: Path
    ) -> None:
        path = tmp_path / "going.socket"
        seen: list[OSError] = []

        def wait(client: NbdImage) -> None:
            with pytest.raises(ServerGone) as caught:
                read(client, 0, 512)
            seen.append(caught.value)

        with serving(image, path) as server, client_of(path) as client:
            image.gate.clear()
            threads = [threading.Thread(target=wait, args=(client,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for _ in threads:
                assert image.reading.acquire(timeout=10)
            # The reads are still at the gate, so their replies come too late.
            ending = threading.Thread(target=server.close)
            ending.start()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()
            image.gate.set()
            ending.join(10)
            with pytest.raises(ServerGone, match="the NBD server is gone") as caught:
                client.flush()
        assert [error.errno for error in [*seen, caught.value]] == [errno.EIO] * 6

    def test_closing_ends_calls_under_way(self, client: NbdImage, image: MemoryImage) -> None:
        image.gate.clear()
        failures: list[OSError] = []

        def wait() -> None:
            try:
                read(client, 0, 512)
            except OSError as failure:
                failures.append(failure)

        thread = threading.Thread(target=wait)
        thread.start()
        assert image.reading.acquire(timeout=10)
        client.close()
        thread.join(10)
        assert not thread.is_alive()
        assert isinstance(failures[0], ServerGone)
        client.close()


Script = Callable[[socket.socket], None]


@pytest.fixture
def against() -> Iterator[Callable[[Script], NbdImage]]:
    """A client of a server that has agreed to everything and then follows a script."""
    opened: list[tuple[threading.Thread, NbdImage, socket.socket]] = []

    def start(script: Script) -> NbdImage:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            agree(theirs)
            script(theirs)

        thread = threading.Thread(target=serve)
        thread.start()
        image = NbdImage(ours)
        opened.append((thread, image, theirs))
        return image

    yield start
    for thread, image, theirs in opened:
        image.close()
        thread.join(10)
        theirs.close()


def agree(sock: socket.socket, minimum: int = 1, maximum: int = 32 << 20) -> None:
    """The handshake of a server with everything."""
    sock.sendall(options.encode_greeting(3))
    stream.receive_exactly(sock, options.CLIENT_FLAGS_SIZE)
    flags = TransmissionFlag.HAS_FLAGS | TransmissionFlag.SEND_FLUSH
    export = options.encode_info_export(options.ExportInfo(SIZE, flags))
    sizes = options.encode_info_block_size(options.BlockSizes(minimum, 4096, maximum))
    context = options.encode_meta_context(1, "base:allocation")
    answers = [
        [],
        [(OptionReply.META_CONTEXT, context)],
        [(OptionReply.INFO, export), (OptionReply.INFO, sizes)],
    ]
    for replies in answers:
        option, length = options.decode_option(stream.receive_exactly(sock, options.OPTION_SIZE))
        stream.receive_exactly(sock, length)
        for kind, data in [*replies, (OptionReply.ACK, b"")]:
            sock.sendall(options.encode_option_reply(option, kind, data))


def answering(*replies: Callable[[int], bytes]) -> Script:
    """Answer each request by a function of its cookie."""

    def script(sock: socket.socket) -> None:
        for reply in replies:
            request = protocol.decode_request(stream.receive_exactly(sock, protocol.REQUEST_SIZE))
            sock.sendall(reply(request.cookie))

    return script


class TestServersThatLie:
    @pytest.mark.parametrize(
        "reply",
        [
            lambda cookie: bytes(16),
            lambda cookie: protocol.encode_reply(cookie + 1),
            protocol.encode_reply,
            lambda cookie: protocol.encode_data_chunk(cookie, 1024, 512, 1),
            lambda cookie: protocol.encode_data_chunk(cookie, 0, 1 << 30, 1),
            lambda cookie: protocol.encode_data_chunk(cookie, (1 << 64) - 1, 512, 1),
            lambda cookie: protocol.encode_chunk(Chunk.OFFSET_DATA, cookie, 4, 1) + bytes(8),
            lambda cookie: protocol.encode_hole_chunk(cookie, 0, 1024, 1),
            lambda cookie: protocol.encode_hole_chunk(cookie, 0, 0, 1),
            lambda cookie: protocol.encode_chunk(Chunk.OFFSET_HOLE, cookie, 99, 1) + bytes(99),
            lambda cookie: 2 * protocol.encode_hole_chunk(cookie, 0, 512),
            lambda cookie: protocol.encode_chunk(Chunk.NONE, cookie, 0, 1),
            lambda cookie: protocol.encode_chunk(Chunk.NONE, cookie, 1 << 31, 1),
            lambda cookie: protocol.encode_chunk(Chunk.ERROR, cookie, 1 << 31, 1),
            lambda cookie: protocol.encode_chunk(Chunk.ERROR, cookie, 6, 1) + b"\0\0\0\5\xff\xff",
            lambda cookie: protocol.encode_chunk(Chunk.BLOCK_STATUS, cookie, 1 << 31, 1),
        ],
    )  # fmt: skip
    def test_nonsense_fails_the_call_and_the_connection(
        self, against: Callable[[Script], NbdImage], reply: Callable[[int], bytes]
    ) -> None:
        client = against(answering(reply))
        memory = bytearray(b"?" * 1024)
        with pytest.raises(ServerGone):
            client.readv([memoryview(memory)[:512]], 0)
        assert memory[512:] == b"?" * 512
        with pytest.raises(ServerGone):
            client.flush()

    def test_errors_by_number_and_by_message(self, against: Callable[[Script], NbdImage]) -> None:
        client = against(
            answering(
                lambda cookie: protocol.encode_reply(cookie, NbdError.ENOSPC),
                lambda cookie: protocol.encode_error_chunk(cookie, 12345, "strange"),
                lambda cookie: protocol.encode_error_chunk(cookie, NbdError.ESHUTDOWN, ""),
            )
        )
        with pytest.raises(OSError, match="No space") as caught:
            client.flush()
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="strange") as caught:
            read(client, 0, 512)
        assert caught.value.errno == errno.EIO
        with pytest.raises(ServerGone, match="about to end"):
            read(client, 0, 512)

    def test_chunks_in_any_order(self, against: Callable[[Script], NbdImage]) -> None:
        client = against(
            answering(
                lambda cookie: protocol.encode_data_chunk(cookie, 1024, 512) + b"c" * 512
                + protocol.encode_hole_chunk(cookie, 512, 512)
                + protocol.encode_data_chunk(cookie, 0, 512) + b"a" * 512
                + protocol.encode_chunk(Chunk.NONE, cookie, 0, 1)
            )
        )  # fmt: skip
        assert read(client, 0, 1536) == b"a" * 512 + bytes(512) + b"c" * 512

    def test_a_block_status_that_goes_on_beyond_the_range(
        self, against: Callable[[Script], NbdImage]
    ) -> None:
        status = [protocol.Descriptor(512, 0), protocol.Descriptor(1 << 31, 3)]
        client = against(answering(lambda cookie: protocol.encode_status_chunk(cookie, 1, status)))
        assert list(client.extents(0, 2048)) == [
            Extent(512, allocated=True, zero=False), Extent(1536, allocated=False, zero=True)
        ]  # fmt: skip

    def test_a_block_status_that_tells_nothing(self, against: Callable[[Script], NbdImage]) -> None:
        status = [protocol.Descriptor(0, 0)]
        client = against(answering(lambda cookie: protocol.encode_status_chunk(cookie, 1, status)))
        with pytest.raises(ServerGone, match="tells of nothing"):
            list(client.extents(0, 2048))


class TestHandshake:
    @pytest.mark.parametrize(
        ("greeting", "message"),
        [
            (b"SSH-2.0-OpenSSH_9.2p1 Debian", "no NBD server"),
            (options.encode_greeting(0), "older than fixed newstyle"),
            (b"NBDMAGIC" + bytes(20), "oldstyle"),
            (b"NBD", "the server is gone"),
        ],
    )
    def test_servers_of_another_kind(self, greeting: bytes, message: str) -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(greeting)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ImageError, match=message):
            NbdImage(ours)
        assert ours.fileno() == -1
        theirs.close()

    def test_a_server_that_knows_only_the_first_option(self) -> None:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            theirs.sendall(options.encode_greeting(1))
            stream.receive_exactly(theirs, options.CLIENT_FLAGS_SIZE)
            while True:
                head = stream.receive_exactly(theirs, options.OPTION_SIZE)
                option, length = options.decode_option(head)
                stream.receive_exactly(theirs, length)
                if option == 1:
                    break
                theirs.sendall(options.encode_option_reply(option, OptionReply.ERR_UNSUP))
            info = options.ExportInfo(SIZE, TransmissionFlag.HAS_FLAGS)
            theirs.sendall(options.encode_export_name_reply(info) + bytes(124))
            request = protocol.decode_request(stream.receive_exactly(theirs, 28))
            theirs.sendall(protocol.encode_reply(request.cookie) + b"z" * 512)

        thread = threading.Thread(target=serve)
        thread.start()
        client = NbdImage(ours, "some")
        assert client.size == SIZE
        assert list(client.extents(0, SIZE)) == [Extent(SIZE, allocated=True, zero=False)]
        client.flush()
        client.discard(0, 512)
        assert read(client, 0, 512) == b"z" * 512
        thread.join(10)
        client.close()
        theirs.close()

    def test_blocks_larger_than_sectors_are_refused(self) -> None:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=agree, args=(theirs, 4096))
        thread.start()
        with pytest.raises(ImageError, match="4096 to 33554432 bytes only"):
            NbdImage(ours)
        thread.join(10)
        theirs.close()

    def test_endless_replies(self) -> None:
        ours, theirs = socket.socketpair()

        def flood() -> None:
            theirs.sendall(options.encode_greeting(3))
            try:
                while True:
                    theirs.sendall(options.encode_option_reply(8, OptionReply.SERVER, b"x"))
            except OSError:
                pass

        thread = threading.Thread(target=flood)
        thread.start()
        with pytest.raises(ImageError, match="replies to one option"):
            NbdImage(ours)
        thread.join(10)
        theirs.close()

    def test_nobody_there(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="no NBD server answers at"):
            connect_unix(tmp_path / "nothing")


_JAILED = """
import socket, sys, threading
from xenolith.machine import jail
from xenolith.storage.nbd.client import NbdImage
sock = socket.socket(fileno=int(sys.argv[1]))
jail.enter()
image = NbdImage(sock, "disk")
def work(number):
    image.writev([memoryview(bytes([number]) * 4096)], number * 4096)
threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
image.flush()
data = memoryview(bytearray(4096))
image.readv([data], 4096)
assert data == bytes([1]) * 4096
image.close()
"""


def test_in_the_jail_with_a_socket_that_was_handed_over(path: Path, image: MemoryImage) -> None:
    sock = connect_unix(path)
    command = [sys.executable, "-c", _JAILED, str(sock.fileno())]
    subprocess.run(command, pass_fds=[sock.fileno()], check=True, timeout=60)
    sock.close()
    assert image.data[4096:20480] == b"".join(bytes([number]) * 4096 for number in range(1, 5))
    assert image.flushes == 1


def test_requests_are_cut_at_what_the_server_takes() -> None:
    ours, theirs = socket.socketpair()
    seen: list[Request] = []

    def serve() -> None:
        agree(theirs, maximum=1 << 20)
        for _ in range(3):
            request = protocol.decode_request(stream.receive_exactly(theirs, 28))
            assert request.type == Command.WRITE
            stream.receive_exactly(theirs, request.length)
            seen.append(request)
            theirs.sendall(protocol.encode_reply(request.cookie))

    thread = threading.Thread(target=serve)
    thread.start()
    client = NbdImage(ours)
    write(client, 512, bytes((2 << 20) + 512))
    thread.join(10)
    client.close()
    theirs.close()
    assert [(request.offset, request.length) for request in seen] == [
        (512, 1 << 20), (512 + (1 << 20), 1 << 20), (512 + (2 << 20), 512)
    ]  # fmt: skip
