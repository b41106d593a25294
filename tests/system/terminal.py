"""A program on a terminal of its own, and somebody who types: for consoles and shells in guests."""

from __future__ import annotations

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

ESCAPE = b"\x1d"
"""^], which leaves a console."""

_TYPED_AT_ONCE = 256

_OWN_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A program that makes its standard input its controlling terminal and becomes another."""

_command_numbers = itertools.count(1)
"""Of all terminals, because a console shows what was run from the others."""


class Terminal:
    """A program whose terminal is ours; also a context manager that ends the program."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.initial_attributes = termios.tcgetattr(slave)

        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *command],
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""
        """All that the program has shown."""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def hang_up(self) -> None:
        """Be gone, as a terminal whose window is closed."""
        os.close(self.master)
        self.master = os.open(os.devnull, os.O_RDWR)

    def attributes(self) -> list[object]:
        """The terminal's settings now."""
        return list(termios.tcgetattr(self.master))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def wait_for(self, wanted: bytes, timeout: float = 30) -> bytes:
        """Wait until ``wanted`` is shown, from the start on; return all that was shown."""
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            assert self._read(deadline - time.monotonic()), (wanted, self.seen[-2000:])
        return self.seen

    def run(self, command: str, timeout: float = 30) -> str:
        """Have the guest's shell run a command; return what it prints, however it exits."""
        number = next(_command_numbers)
        # The quotes keep the echo of what is typed from looking like the answer.
        begin, end = f"<{number}<", f">{number}>"
        line = f"echo '<'{number}'<'; {command}; echo '>'{number}'>'\n".encode()
        for start in range(0, len(line), _TYPED_AT_ONCE):
            self.type(line[start : start + _TYPED_AT_ONCE])
        seen = self.wait_for(end.encode(), timeout).decode(errors="replace")
        answer = re.search(f"{begin}\r\n(.*){end}", seen, re.DOTALL)
        assert answer is not None, seen[-2000:]
        return answer[1].replace("\r\n", "\n")

    def leave(self) -> int:
        """Press ^] and return the exit status of the program."""
        self.type(ESCAPE)
        return self.wait_end()

    def wait_end(self, timeout: float = 30) -> int:
        """Wait until the program ends; return its exit status."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, timeout))
        if not ready:
            return False
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            # Linux reports so that nobody holds the other end any more.
            return False
        self.seen += data
        return bool(data)
