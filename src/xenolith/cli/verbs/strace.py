"""`xl strace`: what a guest asks of the hypervisor, and its events, after strace(1)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from xenolith.cli import terminal
from xenolith.cli.command import ONE, CommandError, UsageError, parse_options
from xenolith.hypervisor.trace import line, stamps
from xenolith.hypervisor.trace.filter import Filter, FilterError
from xenolith.hypervisor.trace.line import Line
from xenolith.hypervisor.trace.stamps import Stamp
from xenolith.hypervisor.trace.summary import Summary
from xenolith.toolstack.client import Toolstack

NAME = "strace"
SYNOPSIS = "[OPTIONS] DOMAIN"
HELP = """\
Show the hypercalls and events of a domain as they happen
One line for each, from now on until Ctrl-C or the end of the domain. An addition to xl.
-e NAME,...             Only these: hypercalls (sched_op), commands (send), event, kinds of event
                        (virq, ipi, console, xenstore). After a ! all but these.
-c                      Show no lines but, at the end, a table of counts, times and errors.
-o FILE                 Write to this file.
-t                      Begin lines with the time of day, not with the domain's system time.
-r                      Begin lines with the time since the line before.
-n LINES                End after so many lines.
"""
SHORT = "e:co:trn:"
LONG: dict[str, str] = {}

_CHUNK = 1 << 18


def run(arguments: list[str]) -> int:
    """Show lines until the domain ends or enough have been seen."""
    options = parse_options(arguments, SHORT, LONG, ONE)
    if "t" in options and "r" in options:
        raise UsageError("-t and -r exclude each other")
    chosen = _filter(options.given["e"]) if "e" in options else None
    limit = _number(options.given["n"]) if "n" in options else None
    with Toolstack.connect() as toolstack:
        stream = toolstack.strace(toolstack.resolve(options.operands[0]))
    with stream, _output(options.given.get("o")) as write:
        trace = _Trace(stream, chosen, limit)
        if "c" in options:
            _summarise(trace, write)
        elif "t" in options:
            _show(trace, stamps.time_of_day, write)
        else:
            _show(trace, stamps.since_last() if "r" in options else stamps.system_time, write)
    return 0


class _Trace:
    """The lines that somebody wants to see of those that arrive."""

    def __init__(self, stream: socket.socket, chosen: Filter | None, limit: int | None) -> None:
        self._stream = stream
        self._chosen = chosen
        self._left = limit
        self.origin_us: int | None = None
        """The wall clock (µs since the Epoch) at system time 0; known before the first line is."""

    def batches(self) -> Iterator[list[Line | str]]:
        """What arrives at a time; what is no line of a trace is a notice of its sender's."""
        rest = b""
        while self._left != 0 and (data := self._receive()):
            *whole, rest = (rest + data).split(b"\n")
            yield list(self._select(raw.decode("utf-8", "replace") for raw in whole))

    def _receive(self) -> bytes:
        try:
            return self._stream.recv(_CHUNK)
        except ConnectionError:
            return b""

    def _select(self, texts: Iterable[str]) -> Iterator[Line | str]:
        for text in texts:
            traced = line.parse(text)
            if traced is None:
                yield text
            elif (origin_us := line.parse_attached(traced.what)) is not None:
                self._begin(traced, origin_us)
            elif (selected := self._chosen.select(traced) if self._chosen else traced) is not None:
                if self._left is not None:
                    self._left -= 1
                yield selected
                if self._left == 0:
                    return

    def _begin(self, traced: Line, origin_us: int) -> None:
        """The trace begins; it does so again whenever somebody else comes to watch the domain."""
        if self.origin_us is None:
            print(f"xl strace: {traced.what}", file=sys.stderr)
        self.origin_us = origin_us


def _show(trace: _Trace, stamp: Stamp, write: Callable[[str], None]) -> None:
    for batch in trace.batches():
        write(
            "".join(
                f"{item}\n"
                if isinstance(item, str)
                else f"{stamp(item.time_us, trace.origin_us or 0)} {item.body}\n"
                for item in batch
            )
        )


def _summarise(trace: _Trace, write: Callable[[str], None]) -> None:
    summary = Summary()
    try:
        for batch in trace.batches():
            for item in batch:
                if isinstance(item, str):
                    write(f"{item}\n")
                else:
                    summary.add(item)
    finally:
        # Ctrl-C is the usual way to end it.
        write(summary.table())


@contextmanager
def _output(path: str | None) -> Iterator[Callable[[str], None]]:
    """Where text goes: a file, or standard output."""
    if path is None:
        yield lambda text: terminal.write_all(1, text.encode())
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CommandError(f"'{path}' cannot be written: {error.strerror}") from None
    try:
        yield lambda text: terminal.write_all(fd, text.encode())
    finally:
        os.close(fd)


def _filter(expression: str) -> Filter:
    try:
        return Filter(expression)
    except FilterError as error:
        raise CommandError(str(error)) from None


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise CommandError(f"'{text}' is no number of lines")
    return int(text)
