"""The console in a terminal: a pseudo-terminal is the user, a socket pair the guest."""

from __future__ import annotations

import os
import pty
import signal
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenolith.cli.command import CommandError, Interrupted
from xenolith.cli.terminal import attach, parse_escape, write_all
from xenolith.cli.terminal_history import History


class User:
    """Somebody at a terminal."""

    def __init__(self) -> None:
        self.keyboard, self.terminal = pty.openpty()

    def close(self) -> None:
        os.close(self.keyboard)
        os.close(self.terminal)

    def types(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def sees(self, text: bytes) -> None:
        """Read until this text was shown; the test's own timeout is the limit."""
        shown = b""
        while text not in shown:
            shown += os.read(self.keyboard, 4096)

    def attributes(self) -> list[Any]:
        attributes: list[Any] = termios.tcgetattr(self.terminal)
        return attributes


@pytest.fixture
def user() -> Iterator[User]:
    with closing(User()) as user:
        yield user


@pytest.fixture
def console() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, guest = socket.socketpair()
    with ours, guest:
        yield ours, guest


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    def fail(_signum: int, _frame: object) -> None:
        raise TimeoutError("the console did not let go")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def meanwhile(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


Pair = tuple[socket.socket, socket.socket]


def test_bytes_go_both_ways_until_the_escape(user: User, console: Pair) -> None:
    ours, guest = console
    before = user.attributes()
    typed = bytearray()

    def converse() -> None:
        guest.sendall(b"login: ")
        user.sees(b"login: ")
        lflag = user.attributes()[3]
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
        user.types(b"root\x03\r")
        while not typed.endswith(b"\r"):
            typed.extend(guest.recv(100))
        user.types(b"bye\x1dunread")
        typed.extend(guest.recv(100))

    thread = meanwhile(converse)
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()
    assert typed == b"root\x03\rbye"
    assert user.attributes() == before


QUERIES = [
    b"\x1b[6n",
    b"\x1b[5n",
    b"\x1b[?6n",
    b"\x1b[c",
    b"\x1b[0c",
    b"\x1b[>c",
    b"\x1b[>0q",
    b"\x1b[18t",
    b"\x1b[?2026$p",
    b"\x1b]11;?\x07",
    b"\x1b]4;1;?\x1b\\",
    b"\x1bP+q6e616d65\x1b\\",
]
SHOWN = b"\x1b[2J\x1b[1;31mred\x1b[0m \x1b]0;title\x07[6n\x1b[10A\x1b[12;40H\r\n"


def test_a_terminal_is_not_asked_again_what_it_was_asked_before(user: User, console: Pair) -> None:
    ours, guest = console
    for query in QUERIES:
        guest.sendall(SHOWN + query)
    guest.sendall(b"old")

    def look() -> None:
        shown = b""
        while b"old" not in shown:
            shown += os.read(user.keyboard, 4096)
        assert shown == SHOWN * len(QUERIES) + b"old"
        user.types(b"?")
        assert guest.recv(1) == b"?"
        guest.sendall(b"\x1b[6n")
        user.sees(b"\x1b[6n")
        user.types(b"\x1d")

    thread = meanwhile(look)
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()


@given(
    st.lists(st.sampled_from([*QUERIES, SHOWN, b"\x1b", b"text", b"\x1b["]), max_size=6), st.data()
)
def test_questions_are_found_in_whatever_pieces_they_come(
    parts: list[bytes], data: st.DataObject
) -> None:
    whole = History()
    expected = whole.pass_on(b"".join(parts)) + whole.end()
    stream, history, shown = b"".join(parts), History(), b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        shown += history.pass_on(stream[:size])
        stream = stream[size:]
    assert shown + history.end() == expected
    if not set(parts) - {SHOWN, b"text", *QUERIES}:
        assert expected == b"".join(part for part in parts if part not in QUERIES)


def test_another_escape(user: User, console: Pair) -> None:
    ours, guest = console
    user.types(b"\x1dx\x01")
    attach(ours, parse_escape("^A"), stdin=user.terminal, stdout=user.terminal)
    assert guest.recv(100) == b"\x1dx"


def test_it_ends_with_the_guest_after_the_last_byte(user: User, console: Pair) -> None:
    ours, guest = console
    output = os.urandom(300_000).replace(b"\x1b", b"e")
    shown = bytearray()

    def watch() -> None:
        while len(shown) < len(output):
            shown.extend(os.read(user.keyboard, 65536))

    def print_and_end() -> None:
        guest.sendall(output)
        guest.close()

    threads = [meanwhile(watch), meanwhile(print_and_end)]
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    for thread in threads:
        thread.join()
    assert shown == output


def test_a_connection_that_breaks_is_the_end(user: User, console: Pair) -> None:
    """A process that is killed over unread typing has its console reset."""
    ours, guest = console
    guest.sendall(b"last words")
    ours.sendall(b"typed in vain")
    guest.close()
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    assert os.read(user.keyboard, 100) == b"last words"


def test_a_bare_newline_is_passed_on_as_it_is(user: User, console: Pair) -> None:
    ours, guest = console
    guest.sendall(b"one\ntwo")
    guest.close()
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    assert os.read(user.keyboard, 100) == b"one\ntwo"


def test_without_a_terminal_it_only_shows(console: Pair) -> None:
    ours, guest = console
    stdin, keys = os.pipe()
    result, stdout = os.pipe()
    os.write(keys, b"typed\x1d")
    guest.sendall(b"shown")
    guest.shutdown(socket.SHUT_WR)
    attach(ours, stdin=stdin, stdout=stdout)
    assert os.read(result, 100) == b"shown"
    ours.close()
    assert guest.recv(100) == b""
    for fd in (stdin, keys, result, stdout):
        os.close(fd)


def test_a_terminal_that_goes_away_is_the_end(user: User, console: Pair) -> None:
    ours, guest = console
    mine, other = os.pipe()

    def hang_up() -> None:
        guest.sendall(b"hello")
        user.sees(b"hello")
        os.close(user.keyboard)
        user.keyboard = os.dup(mine)

    thread = meanwhile(hang_up)
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()
    os.close(mine)
    os.close(other)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_restore_the_terminal(user: User, console: Pair, signum: int) -> None:
    ours, guest = console
    before = user.attributes()

    def interrupt() -> None:
        guest.sendall(b"running")
        user.sees(b"running")
        assert user.attributes() != before
        os.kill(os.getpid(), signum)
        # A signal just before poll(2) begins is noticed after it.
        guest.sendall(b".")

    thread = meanwhile(interrupt)
    with pytest.raises(Interrupted) as caught:
        attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()
    assert caught.value.exit_status == 128 + signum
    assert user.attributes() == before


def test_a_resized_window_disturbs_nothing(user: User, console: Pair) -> None:
    ours, guest = console

    def resize() -> None:
        guest.sendall(b"before")
        user.sees(b"before")
        os.kill(os.getpid(), signal.SIGWINCH)
        guest.sendall(b"after")
        user.sees(b"after")
        guest.close()

    thread = meanwhile(resize)
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()


def test_a_guest_that_reads_nothing_can_still_be_left(user: User, console: Pair) -> None:
    ours, _guest = console

    def paste() -> None:
        for _ in range(4000):
            user.types(b"x" * 500)
        user.types(b"\x1d")

    thread = meanwhile(paste)
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    thread.join()


def test_nothing_spins_while_nothing_happens(user: User, console: Pair) -> None:
    ours, guest = console
    user.types(b"typed before the guest is ready")
    quiet = threading.Event()

    def wait_and_end() -> None:
        guest.recv(100)
        quiet.wait(0.5)
        guest.close()

    thread = meanwhile(wait_and_end)
    before = os.times()
    attach(ours, stdin=user.terminal, stdout=user.terminal)
    after = os.times()
    thread.join()
    assert (after.user - before.user) + (after.system - before.system) < 0.2


def test_write_all_waits_for_a_full_pipe() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(500_000)
    received = bytearray()

    def read() -> None:
        while len(received) < len(data):
            received.extend(os.read(reader, 4096))

    thread = meanwhile(read)
    write_all(writer, data)
    thread.join()
    assert received == data
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("text", "escape"), [("^]", b"\x1d"), ("^a", b"\x01"), ("q", b"q"), ("^", b"^")]
)
def test_escape_characters(text: str, escape: bytes) -> None:
    assert parse_escape(text) == escape


@pytest.mark.parametrize("text", ["", "ab", "^]]", "é", "^é"])
def test_escape_characters_refused(text: str) -> None:
    with pytest.raises(CommandError):
        parse_escape(text)
