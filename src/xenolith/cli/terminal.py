"""Joins the user's terminal to a guest's console until one of them has had enough.

It is what xenconsole(1) does (tools/console/client/main.c): ^] leaves, and where input or output
is no terminal the console is only shown.
"""

from __future__ import annotations

import os
import select
import socket
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xenolith.cli.command import CommandError
from xenolith.cli.signals import signals_as_exceptions
from xenolith.cli.terminal_history import History

ESCAPE = b"\x1d"
"""^], as with telnet."""

_CHUNK = 1 << 16

_MAX_TYPED = 1 << 20
"""Bytes typed ahead of the guest. More is dropped, as by a tty: keys must be read for the escape
character among them."""


def parse_escape(text: str) -> bytes:
    """The escape character from ``X`` or ``^X``; CommandError if it is neither."""
    if len(text) == 2 and text[0] == "^" and text[1].isascii():
        return bytes([ord(text[1]) & 0x1F])
    if len(text) == 1 and text.isascii():
        return text.encode()
    raise CommandError(f"'{text}' is not an escape character, such as ^]")


def is_interactive(stdin: int = 0, stdout: int = 1) -> bool:
    """Whether somebody can look and type."""
    return os.isatty(stdin) and os.isatty(stdout)


def attach(
    console: socket.socket, escape: bytes = ESCAPE, *, stdin: int = 0, stdout: int = 1
) -> None:
    """Show ``console`` and type into it until the user leaves or it ends; closes nothing."""
    interactive = is_interactive(stdin, stdout)
    with signals_as_exceptions(), _raw(stdin, interactive):
        _Session(console, escape, stdin if interactive else None, stdout).run()


@contextmanager
def _raw(terminal: int, interactive: bool) -> Iterator[None]:
    """Have a terminal pass on every byte as it is, both ways, as cfmakeraw(3) does."""
    if not interactive:
        yield
        return
    before = termios.tcgetattr(terminal)
    iflag, oflag, cflag, lflag, ispeed, ospeed, control = before
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    # The guest's own terminal ends lines; what it puts out raw (an editor's) must arrive so.
    oflag &= ~termios.OPOST
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    control = list(control)
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    try:
        raw = [iflag, oflag, cflag, lflag, ispeed, ospeed, control]
        termios.tcsetattr(terminal, termios.TCSANOW, raw)
        yield
    finally:
        with suppress(termios.error):  # The terminal may have gone.
            termios.tcsetattr(terminal, termios.TCSANOW, before)


class _Session:
    """One conversation; ``stdin`` is None where nothing can be typed."""

    def __init__(
        self, console: socket.socket, escape: bytes, stdin: int | None, stdout: int
    ) -> None:
        self._console = console
        self._escape = escape
        self._stdin = stdin
        self._stdout = stdout
        self._typed = b""
        # What is there when we come, up to where there is no more at once.
        self._history = History() if stdin is not None else None

    def run(self) -> None:
        self._console.setblocking(False)
        while True:
            ready = self._wait()
            if ready.get(self._console.fileno(), 0) & ~select.POLLOUT and not self._show():
                return
            if self._stdin in ready and not self._read_keys():
                return
            if self._typed:
                self._send()

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._console, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._stdin is not None:
            poll.register(self._stdin, select.POLLIN)
        if self._history is not None:
            ready = dict(poll.poll(0))
            if self._console.fileno() in ready:
                return ready
            write_all(self._stdout, self._history.end())
            self._history = None
        return dict(poll.poll())

    def _show(self) -> bool:
        """Pass on what the guest printed; False at the end of it."""
        try:
            data = self._console.recv(_CHUNK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if self._history is not None:
            shown = self._history.pass_on(data) if data else self._history.end()
            write_all(self._stdout, shown)
        else:
            write_all(self._stdout, data)
        return bool(data)

    def _read_keys(self) -> bool:
        """Take in what was typed; False if it holds the escape character, or the terminal has gone."""
        assert self._stdin is not None
        try:
            keys = os.read(self._stdin, _CHUNK)
        except OSError:
            return False
        if not keys:
            return False
        before, escaped, _ = keys.partition(self._escape)
        self._typed = (self._typed + before)[:_MAX_TYPED]
        if escaped:
            self._send()
        return not escaped

    def _send(self) -> None:
        try:
            self._typed = self._typed[self._console.send(self._typed) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            # The guest has gone; what it printed before is still to be read.
            self._typed, self._stdin = b"", None


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, whether or not it blocks."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            writable = select.poll()
            writable.register(fd, select.POLLOUT)
            writable.poll()
