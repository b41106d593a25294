"""The lines of a trace: what the domain's process writes and `xl strace` reads.

::

        1.023533 v0  event_channel_op(send, {port=1}) = 0 <22.5 us>
        1.023541 v0    event: port 1 (console) v0 → backend

A line has a system time in seconds, who acted (``-``: none of the vCPUs), and what happened, indented by what it
happened within. The format resembles strace(1)'s.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NOBODY = "-"
CONTINUED = "<continued>"
"""The result of a hypercall that the guest is made to repeat for what is left of its work."""

UNFINISHED = "?"
"""The result of a hypercall that did not return."""

_WHO_WIDTH = 3
_INDENT = "  "
_CALL = re.compile(
    r"(?P<name>\w+)\((?P<command>[a-z_]\w*)?.* = (?P<result>\S+)(?: \(.*\))? <(?P<us>\d+\.\d) us>"
)
_EVENT = re.compile(r"event: port (?P<port>\d+) \((?P<kind>[^)]*)\)")
_LINE = re.compile(r" *(?P<seconds>\d+)\.(?P<us>\d{6}) (?P<who>v\d+|-)(?P<what> .*)", re.DOTALL)
_ATTACHED = re.compile(r"attached to .*; system time 0 is (\d+)\.(\d{6})")


class Line(NamedTuple):
    """One line, but for its end."""

    time_us: int
    """The domain's system time."""
    who: str
    depth: int
    what: str

    def __str__(self) -> str:
        return f"{seconds(self.time_us)} {self.body}"

    @property
    def body(self) -> str:
        """The line without its time."""
        return f"{self.who:<{_WHO_WIDTH}} {_INDENT * self.depth}{self.what}"


class CallParts(NamedTuple):
    """What a filter and a summary want to know of a hypercall's line."""

    name: str
    command: str
    """"" where there is none, or none that has a name."""
    result: str
    time_us: float

    @property
    def failed(self) -> bool:
        """Whether the result is an error."""
        return self.result.startswith("-E")


class EventParts(NamedTuple):
    """What a filter and a summary want to know of an event's line."""

    port: int
    kind: str


def seconds(time_us: int) -> str:
    """A time in µs as the lines show it."""
    return f"{time_us // 1_000_000:5d}.{time_us % 1_000_000:06d}"


def call(name: str, arguments: str, result: str, took_ns: int) -> str:
    """What happened: a hypercall."""
    return f"{name}({arguments}) = {result} <{took_ns / 1000:.1f} us>"


def event(port: int, kind: str, way: str) -> str:
    """What happened: an event, ``way`` saying from where to where."""
    return f"event: port {port} ({kind}) {way}"


def attached(domid: int, origin_ns: int) -> str:
    """What happened: the trace began. ``origin_ns`` is the wall clock (since the Epoch) at system time 0."""
    origin_us = origin_ns // 1000
    return (
        f"attached to domain {domid}; "
        f"system time 0 is {origin_us // 1_000_000}.{origin_us % 1_000_000:06d}"
    )


def parse(text: str) -> Line | None:
    """A line taken apart; None for one that is no line of a trace."""
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    who = match["who"]
    padded = match["what"].removeprefix(" " * max(1, _WHO_WIDTH + 1 - len(who)))
    what = padded.lstrip(" ")
    depth = (len(padded) - len(what)) // len(_INDENT)
    return Line(int(match["seconds"]) * 1_000_000 + int(match["us"]), who, depth, what)


def parse_call(what: str) -> CallParts | None:
    """The parts of a hypercall's line; None for another one."""
    match = _CALL.fullmatch(what)
    if match is None:
        return None
    return CallParts(match["name"], match["command"] or "", match["result"], float(match["us"]))


def parse_event(what: str) -> EventParts | None:
    """The parts of an event's line; None for another one."""
    match = _EVENT.match(what)
    return None if match is None else EventParts(int(match["port"]), match["kind"])


def parse_attached(what: str) -> int | None:
    """The wall clock (µs since the Epoch) at system time 0; None for another line."""
    match = _ATTACHED.fullmatch(what)
    return None if match is None else int(match[1]) * 1_000_000 + int(match[2])
