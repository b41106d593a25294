"""The message codec and the blocking connection."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.toolstack import rpc

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text().filter(lambda key: key != "fds"), JSON, max_size=4)


@given(st.lists(BODIES, max_size=5), st.lists(st.integers(1, 40)))
def test_messages_survive_any_fragmentation(bodies: list[rpc.Body], cuts: list[int]) -> None:
    stream = b"".join(map(rpc.encode, bodies))
    decoder = rpc.Decoder()
    got = []
    for cut in cuts:
        got += decoder.feed(stream[:cut])
        stream = stream[cut:]
    got += decoder.feed(stream)
    assert [message.body for message in got] == bodies


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_fail_otherwise_than_by_its_own_error(data: bytes) -> None:
    decoder = rpc.Decoder()
    try:
        for message in decoder.feed(data):
            assert isinstance(message.body, dict)
    except rpc.ProtocolError:
        pass


@pytest.mark.parametrize(
    "line", [b"[1]\n", b"{\n", b"\xff\n", b'{"fds":1}\n', b'{"fds":"x"}\n', b"[" * 100000 + b"\n"]
)
def test_malformed_messages_are_refused(line: bytes) -> None:
    with pytest.raises(rpc.ProtocolError):
        rpc.Decoder().feed(line)


@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_a_message_has_a_length_limit_whether_complete_or_not(tail: bytes) -> None:
    with pytest.raises(rpc.ProtocolError):
        rpc.Decoder(max_message=100).feed(b" " * 100 + tail)


def test_a_protocol_error_closes_the_descriptors_that_came() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(rpc.ProtocolError):
        rpc.Decoder().feed(b'{"fds":1}\nnonsense\n', [fd])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def serve_once(sock: socket.socket, answer: rpc.Body, fds: list[int]) -> None:
    data, received = rpc.receive(sock)
    (message,) = rpc.Decoder().feed(data, received)
    rpc.close_all(message.fds)
    socket.send_fds(sock, [rpc.encode({"id": message.body["id"], **answer}, len(fds))], fds)


def test_a_call_returns_the_result_and_descriptors(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    reader, writer = os.pipe()
    thread = threading.Thread(target=serve_once, args=(theirs, {"result": [1, None]}, [writer]))
    thread.start()
    result, fds = rpc.Connection(ours).call("method", {"key": "value"})
    thread.join()
    os.close(writer)
    os.write(fds[0], b"through")
    os.close(fds[0])
    with os.fdopen(reader, "rb") as pipe:
        assert (result, pipe.read()) == ([1, None], b"through")


def test_an_error_answer_is_raised_with_its_sentence(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    answer = {"error": {"code": rpc.SERVER_ERROR, "message": "No such domain"}}
    thread = threading.Thread(target=serve_once, args=(theirs, answer, []))
    thread.start()
    with pytest.raises(rpc.RemoteError, match=r"^No such domain$"):
        rpc.Connection(ours).call("destroy", {})
    thread.join()


def test_a_closed_connection_is_a_protocol_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(rpc.ProtocolError, match="closed"):
        rpc.Connection(ours).call("list", {})


def test_messages_are_json_rpc() -> None:
    line = rpc.encode(rpc.request(7, "pause", {"domid": 1}))
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "pause",
        "params": {"domid": 1},
    }


def test_a_peer_of_our_own_is_accepted(pair: tuple[socket.socket, socket.socket]) -> None:
    rpc.check_peer(pair[0])
