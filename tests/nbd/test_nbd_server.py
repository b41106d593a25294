"""The NBD server: what clients agree upon with it and ask of it, and how it survives bad ones."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbd_harness import BLOCK, MemoryImage, Peer, serving

from xenolith.storage.nbd import options, protocol, server
from xenolith.storage.nbd.constants import (
    CHUNK_DONE,
    MAX_PAYLOAD,
    Chunk,
    Command,
    CommandFlag,
    NbdError,
    Option,
    OptionReply,
    State,
    TransmissionFlag,
)
from xenolith.storage.nbd.protocol import ReplyChunk, Request
from xenolith.storage.nbd.server import MAX_CLIENTS
from xenolith.storage.nbd.server_connection import WORKERS

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
def peer(path: Path) -> Iterator[Peer]:
    peer = Peer(path)
    yield peer
    peer.close()


def chunk(peer: Peer) -> tuple[ReplyChunk, bytes]:
    head = protocol.decode_chunk(peer.receive(20))
    return head, peer.receive(head.length)


def flags_of(replies: list[tuple[int, bytes]]) -> TransmissionFlag:
    info = next(options.decode_info(data) for kind, data in replies if kind == OptionReply.INFO)
    assert isinstance(info, options.ExportInfo)
    return info.flags


class TestHandshake:
    def test_the_oldest_option_selects_the_default_export(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(1))
        peer.send(options.encode_option(Option.EXPORT_NAME))
        info = options.decode_export_name_reply(peer.receive(options.EXPORT_NAME_REPLY_SIZE))
        assert info.size == SIZE
        assert peer.receive(options.RESERVED_SIZE) == bytes(options.RESERVED_SIZE)
        assert peer.request(Command.READ, 0, 512) == 0

    def test_an_export_that_does_not_exist(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        ((kind, message),) = peer.ask(Option.GO, options.encode_go("other", []))
        assert kind == OptionReply.ERR_UNKNOWN
        assert b"'other'" in message
        peer.send(options.encode_option(Option.EXPORT_NAME, b"other"))
        assert peer.is_sent_away()

    def test_the_exports_are_listed(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        (kind, data), last = peer.ask(Option.LIST)
        assert kind == OptionReply.SERVER
        assert data == b"\0\0\0\x04diska test's"
        assert last == (OptionReply.ACK, b"")

    def test_unfragmented_reads_are_offered_with_structure_only(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        go = options.encode_go("disk", [])
        assert not flags_of(peer.ask(Option.INFO, go)) & TransmissionFlag.SEND_DF
        peer.ask(Option.STRUCTURED_REPLY)
        assert flags_of(peer.ask(Option.INFO, go)) & TransmissionFlag.SEND_DF

    def test_contexts_need_structure_and_are_those_of_their_export(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        wanted = options.encode_meta_context_query("disk", ["base:allocation", "other:thing"])
        assert peer.ask(Option.SET_META_CONTEXT, wanted)[0][0] == OptionReply.ERR_INVALID
        peer.ask(Option.STRUCTURED_REPLY)
        everything = options.encode_meta_context_query("disk", [])
        assert len(peer.ask(Option.LIST_META_CONTEXT, everything)) == 2
        assert len(peer.ask(Option.SET_META_CONTEXT, everything)) == 1
        assert len(peer.ask(Option.SET_META_CONTEXT, wanted)) == 2
        # By another of its names the export has no context.
        assert peer.ask(Option.GO, options.encode_go("", []))[-1][0] == OptionReply.ACK
        peer.send(protocol.encode_request(Request(0, Command.BLOCK_STATUS, 1, 0, 512)))
        assert protocol.decode_error(chunk(peer)[1])[0] == NbdError.EINVAL

    def test_abort_is_acknowledged(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        assert peer.ask(Option.ABORT) == [(OptionReply.ACK, b"")]
        assert peer.is_sent_away()

    def test_tls_and_unknown_options_are_refused_and_no_more(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        for option in (Option.STARTTLS, 99, (1 << 32) - 1):
            assert peer.ask(option)[0][0] == OptionReply.ERR_UNSUP
        assert peer.ask(Option.GO, b"nonsense")[0][0] == OptionReply.ERR_INVALID
        assert peer.ask(Option.GO, options.encode_go("", []))[-1][0] == OptionReply.ACK

    def test_unknown_client_flags(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(7))
        assert peer.is_sent_away()

    def test_a_flood_of_options(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        with pytest.raises(OSError, match=r".*"):
            for _ in range(1000):
                peer.ask(Option.LIST)

    def test_an_option_of_gigabytes(self, peer: Peer) -> None:
        peer.send(options.encode_client_flags(3))
        peer.send(options.encode_option(Option.GO)[:12] + b"\xff" * 4)
        assert peer.is_sent_away()


class TestCommands:
    def test_reads_without_structure(self, peer: Peer, image: MemoryImage) -> None:
        image.data[512:1024] = b"x" * 512
        peer.go()
        peer.send(protocol.encode_request(Request(0, Command.READ, 9, 0, 1024)))
        assert protocol.decode_reply(peer.receive(16)) == (9, 0)
        assert peer.receive(1024) == bytes(512) + b"x" * 512

    def test_holes_are_not_sent(self, peer: Peer, image: MemoryImage) -> None:
        content = os.urandom(BLOCK)
        image.writev([memoryview(content)], 2 * BLOCK)
        peer.go(structured=True)
        peer.send(protocol.encode_request(Request(0, Command.READ, 9, 0, 4 * BLOCK)))
        chunks = [chunk(peer) for _ in range(4)]
        assert [head.type for head, _ in chunks] == [
            Chunk.OFFSET_HOLE, Chunk.OFFSET_HOLE, Chunk.OFFSET_DATA, Chunk.OFFSET_HOLE
        ]  # fmt: skip
        assert [head.flags for head, _ in chunks] == [0, 0, 0, CHUNK_DONE]
        assert protocol.decode_hole(chunks[1][1]) == (BLOCK, BLOCK)
        assert chunks[2][1] == (2 * BLOCK).to_bytes(8, "big") + content

    def test_unfragmented_reads_have_one_chunk(self, peer: Peer, image: MemoryImage) -> None:
        image.writev([memoryview(bytes(512))], 0)
        peer.go(structured=True)
        flags = CommandFlag.DF
        peer.send(protocol.encode_request(Request(flags, Command.READ, 9, 0, 4 * BLOCK)))
        head, payload = chunk(peer)
        assert head == (CHUNK_DONE, Chunk.OFFSET_DATA, 9, 8 + 4 * BLOCK)
        assert not any(payload)

    def test_a_flush_follows_a_write_that_is_to_be_lasting(
        self, peer: Peer, image: MemoryImage
    ) -> None:
        peer.go()
        assert peer.request(Command.WRITE, 0, 512, data=b"a" * 512) == 0
        assert image.flushes == 0
        assert peer.request(Command.WRITE, 512, 512, CommandFlag.FUA, b"b" * 512) == 0
        assert image.flushes == 1
        assert peer.request(Command.FLUSH) == 0
        assert image.flushes == 2
        assert image.data[:1024] == b"a" * 512 + b"b" * 512

    def test_zeroes_with_and_without_holes(self, peer: Peer, image: MemoryImage) -> None:
        image.writev([memoryview(b"x" * BLOCK)], 0)
        peer.go()
        assert peer.request(Command.WRITE_ZEROES, 0, 2 * BLOCK) == 0
        assert not any(image.data[:BLOCK])
        assert image.allocated[1] is False
        assert peer.request(Command.WRITE_ZEROES, 0, 2 * BLOCK, CommandFlag.NO_HOLE) == 0
        assert image.allocated[1] is True

    def test_zeroes_are_fast_where_there_are_some(self, peer: Peer, image: MemoryImage) -> None:
        image.writev([memoryview(b"x" * 512)], 0)
        peer.go()
        fast = CommandFlag.FAST_ZERO
        assert peer.request(Command.WRITE_ZEROES, BLOCK, SIZE - BLOCK, fast) == 0
        assert peer.request(Command.WRITE_ZEROES, 0, SIZE, fast) == NbdError.ENOTSUP
        both = fast | CommandFlag.NO_HOLE
        assert peer.request(Command.WRITE_ZEROES, BLOCK, BLOCK, both) == NbdError.ENOTSUP

    def test_discarded_blocks_are_holes(self, peer: Peer, image: MemoryImage) -> None:
        image.writev([memoryview(b"x" * 3 * BLOCK)], 0)
        peer.go(structured=True, allocation=True)
        assert peer.request(Command.TRIM, BLOCK, BLOCK) == 0
        peer.send(protocol.encode_request(Request(0, Command.BLOCK_STATUS, 5, 0, SIZE)))
        head, payload = chunk(peer)
        hole = State.HOLE | State.ZERO
        assert head.flags == CHUNK_DONE
        assert protocol.decode_status(payload) == (
            1, [(BLOCK, 0), (BLOCK, hole), (BLOCK, 0), (SIZE - 3 * BLOCK, hole)]
        )  # fmt: skip
        one = Request(CommandFlag.REQ_ONE, Command.BLOCK_STATUS, 5, 0, SIZE)
        peer.send(protocol.encode_request(one))
        assert protocol.decode_status(chunk(peer)[1]) == (1, [(BLOCK, 0)])

    def test_cache_reads(self, peer: Peer, image: MemoryImage) -> None:
        peer.go()
        assert peer.request(Command.CACHE, 0, SIZE) == 0
        assert image.reading.acquire(blocking=False)

    @pytest.mark.parametrize(
        ("command", "offset", "length", "flags", "error"),
        [
            (Command.READ, SIZE, 512, 0, NbdError.EINVAL),
            (Command.READ, (1 << 64) - 512, 512, 0, NbdError.EINVAL),
            (Command.READ, 0, 0, 0, NbdError.EINVAL),
            (Command.READ, 1, 512, 0, NbdError.EINVAL),
            (Command.READ, 0, 513, 0, NbdError.EINVAL),
            (Command.READ, 0, (1 << 32) - 512, 0, NbdError.EINVAL),
            (Command.READ, 0, 512, CommandFlag.NO_HOLE, NbdError.EINVAL),
            (Command.READ, 0, 512, 1 << 15, NbdError.EINVAL),
            (Command.TRIM, SIZE - 512, 1024, 0, NbdError.EINVAL),
            (Command.WRITE_ZEROES, SIZE - 512, 1024, 0, NbdError.ENOSPC),
            (Command.CACHE, SIZE, 512, 0, NbdError.EINVAL),
            (Command.BLOCK_STATUS, 0, 512, 0, NbdError.EINVAL),
            (8, 0, 0, 0, NbdError.EINVAL),
            (999, 0, 512, 0, NbdError.EINVAL),
        ],
    )
    def test_what_makes_no_sense_is_an_error(
        self, peer: Peer, command: int, offset: int, length: int, flags: int, error: int
    ) -> None:
        peer.go()
        assert peer.request(command, offset, length, flags) == error
        assert peer.request(Command.READ, 0, 512) == 0

    def test_a_write_beyond_the_end_is_taken_in_and_refused(
        self, peer: Peer, image: MemoryImage
    ) -> None:
        peer.go()
        assert peer.request(Command.WRITE, SIZE - 512, 1024, data=b"x" * 1024) == NbdError.ENOSPC
        assert peer.request(Command.READ, 0, 512) == 0
        assert not any(image.data)

    @pytest.mark.parametrize(
        ("number", "error"),
        [
            (errno.EIO, NbdError.EIO),
            (errno.ENOSPC, NbdError.ENOSPC),
            (errno.EDQUOT, NbdError.ENOSPC),
            (errno.ENODEV, NbdError.EIO),
        ],
    )
    def test_errors_of_the_host(
        self, peer: Peer, image: MemoryImage, number: int, error: NbdError
    ) -> None:
        image.failure = OSError(number, os.strerror(number))
        peer.go()
        assert peer.request(Command.READ, 0, 512) == error
        assert peer.request(Command.WRITE, 0, 512, data=bytes(512)) == error
        image.failure = None
        assert peer.request(Command.READ, 0, 512) == 0

    def test_errors_with_structure_say_why(self, peer: Peer, image: MemoryImage) -> None:
        image.failure = OSError(errno.EIO, "the disk is on fire")
        peer.go(structured=True)
        peer.send(protocol.encode_request(Request(0, Command.READ, 9, 0, 512)))
        head, payload = chunk(peer)
        assert (head.flags, head.type) == (CHUNK_DONE, Chunk.ERROR)
        assert protocol.decode_error(payload) == (NbdError.EIO, "the disk is on fire")


def test_a_read_only_image(tmp_path: Path) -> None:
    path = tmp_path / "nbd.socket"
    with serving(MemoryImage(SIZE, read_only=True), path):
        peer = Peer(path)
        peer.send(options.encode_client_flags(3))
        flags = flags_of(peer.ask(Option.GO, options.encode_go("", [])))
        assert flags & TransmissionFlag.READ_ONLY
        for command in (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES):
            data = bytes(512) if command == Command.WRITE else b""
            assert peer.request(command, 0, 512, data=data) == NbdError.EPERM
        assert peer.request(Command.FLUSH) == 0
        peer.close()


class TestClients:
    def test_one_that_says_nothing_is_sent_away(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT", 0.1)
        peer = Peer(path)
        assert peer.is_sent_away()
        peer.close()

    def test_requests_of_one_client_are_executed_at_once(
        self, peer: Peer, image: MemoryImage
    ) -> None:
        peer.go()
        image.gate.clear()
        for cookie in range(WORKERS + 2):
            request = Request(0, Command.READ, cookie, 0, 512)
            peer.send(protocol.encode_request(request))
        for _ in range(WORKERS):
            assert image.reading.acquire(timeout=10)
        image.gate.set()
        seen = set()
        for _ in range(WORKERS + 2):
            seen.add(protocol.decode_reply(peer.receive(16)).cookie)
            peer.receive(512)
        assert seen == set(range(WORKERS + 2))

    def test_replies_to_what_is_under_way_precede_the_end(
        self, peer: Peer, image: MemoryImage
    ) -> None:
        peer.go()
        image.gate.clear()
        peer.send(protocol.encode_request(Request(0, Command.READ, 3, 0, 512)))
        assert image.reading.acquire(timeout=10)
        peer.send(protocol.encode_request(Request(0, Command.DISC, 0, 0, 0)))
        image.gate.set()
        assert protocol.decode_reply(peer.receive(16)) == (3, 0)
        peer.receive(512)
        assert peer.is_sent_away()

    @pytest.mark.parametrize(
        "data",
        [
            b"\0" * 28,
            protocol.encode_request(Request(0, Command.WRITE, 1, 0, MAX_PAYLOAD + 512)),
            protocol.encode_request(Request(0, Command.WRITE, 1, 0, (1 << 32) - 1)),
        ],
        ids=["no magic", "too much data", "far too much data"],
    )
    def test_who_cannot_be_understood_is_sent_away(
        self, peer: Peer, path: Path, data: bytes
    ) -> None:
        peer.go()
        peer.send(data)
        assert peer.is_sent_away()
        other = Peer(path)
        other.go()
        assert other.request(Command.READ, 0, 512) == 0
        other.close()

    def test_a_client_that_goes_in_the_middle_of_a_write_changes_nothing(
        self, peer: Peer, path: Path, image: MemoryImage
    ) -> None:
        peer.go()
        peer.send(protocol.encode_request(Request(0, Command.WRITE, 1, 0, BLOCK)) + b"x" * 1000)
        peer.close()
        other = Peer(path)
        other.go()
        assert other.request(Command.READ, 0, 512) == 0
        other.close()
        assert not any(image.data)

    def test_a_client_that_reads_no_replies_does_not_keep_the_server_from_ending(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "nbd.socket"
        with serving(MemoryImage(SIZE), path) as server:
            peer = Peer(path)
            peer.go()
            peer.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                while True:
                    peer.send(protocol.encode_request(Request(0, Command.READ, 1, 0, SIZE)))
            ended = threading.Thread(target=server.close)
            ended.start()
            ended.join(10)
            assert not ended.is_alive()
            peer.close()

    def test_too_many_clients(self, path: Path) -> None:
        peers = [Peer(path) for _ in range(MAX_CLIENTS)]
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(str(path))
        assert sock.recv(1) == b""
        sock.close()
        for peer in peers:
            peer.close()

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.binary(min_size=1, max_size=64), max_size=10))
    def test_random_bytes_end_at_most_the_connection(self, path: Path, parts: list[bytes]) -> None:
        peer = Peer(path)
        peer.go()
        try:
            for part in parts:
                peer.send(part)
        except OSError:
            pass
        peer.close()
        other = Peer(path)
        other.go()
        assert other.request(Command.READ, 0, 512) == 0
        other.close()
