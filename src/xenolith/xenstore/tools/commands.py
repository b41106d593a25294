"""What the commands of xenstore-utils do: requests to a server, and text from the replies.

Behaviour and output follow docs/man/xenstore-*.1.pod and, to the character, Xen's own programs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from xenolith.xenstore.errors import XenstoreError
from xenolith.xenstore.tools.client import Client
from xenolith.xenstore.tools.escape import escape, unescape

_PERMISSIONS_COLUMN = 60
_VALUE_FRAME = len(' = "..."')


class CommandError(Exception):
    """The command failed; the message, if any, is for the user."""


class Output(Protocol):
    """Where a command prints."""

    def write(self, data: bytes, /) -> object:
        """Print; CommandError if that cannot be."""

    def flush(self) -> None:
        """Have it seen now; CommandError if that cannot be."""


class Call(NamedTuple):
    """One execution of a command, within a transaction or none (0)."""

    client: Client
    transaction: int
    options: dict[str, str]
    """Values by option letter; empty for options without one."""
    arguments: Sequence[str]
    output: Output
    width: int
    """How many columns ls may use."""


def read(call: Call) -> None:
    """Print values; -p with their paths, -R as they are."""
    for path in call.arguments:
        try:
            value = call.client.read(path, call.transaction)
        except XenstoreError:
            raise CommandError(f"couldn't read path {path}") from None
        prefix = os.fsencode(f"{path}: ") if "p" in call.options else b""
        call.output.write(prefix + (value if "R" in call.options else escape(value) + b"\n"))


def write(call: Call) -> None:
    """Store values given with escapes, -R without."""
    for path, text in zip(call.arguments[::2], call.arguments[1::2], strict=True):
        value = os.fsencode(text)
        try:
            shown = value if "R" in call.options else unescape(value)
            call.client.write(path, shown, call.transaction)
        except XenstoreError:
            raise CommandError(f"could not write path {path}") from None


def rm(call: Call) -> None:
    """Remove nodes; -t with the ancestors that are left with neither value nor children."""
    for path in call.arguments:
        _remove(call, path)
        above = path.rpartition("/")[0]
        while "t" in call.options and above and _is_bare(call, above):
            _remove(call, above)
            above = above.rpartition("/")[0]


def exists(call: Call) -> None:
    """Fail in silence unless all nodes exist."""
    for path in call.arguments:
        try:
            call.client.read(path, call.transaction)
        except XenstoreError:
            raise CommandError from None


def list_(call: Call) -> None:
    """Print the names of children; -p with their paths."""
    for path in call.arguments:
        try:
            names = call.client.directory(path, call.transaction)
        except XenstoreError:
            raise CommandError(f"could not list path {path}") from None
        prefix = f"{path.rstrip('/')}/" if "p" in call.options else ""
        for name in names:
            call.output.write(os.fsencode(f"{prefix}{name}\n"))


def ls(call: Call) -> None:
    """Print trees, indented; -f with whole paths and values, -p with permissions."""
    flat = "f" in call.options
    width = sys.maxsize if flat else call.width
    column = 0 if flat else min(_PERMISSIONS_COLUMN, width)
    for top in call.arguments or ["/"]:
        for path, depth in _descend(call, top):
            name = path if flat else path.rpartition("/")[2]
            indent = 0 if flat else depth
            label = b" " * indent + _cut(name.encode(), width - _VALUE_FRAME - indent)
            call.output.write(_ls_line(call, path, label, width, column))


def chmod(call: Call) -> None:
    """Set permissions; -u of all ancestors, too, -r of all descendants."""
    top, *permissions = call.arguments
    for permission in permissions:
        if permission[:1] not in ("n", "r", "w", "b"):
            raise CommandError(f"Invalid permission specification: '{permission[:1]}'")
    paths = [top]
    if "u" in call.options:
        paths += [top[:end] for end in range(len(top) - 1, 0, -1) if top[end] == "/"]
    if "r" in call.options:
        paths += [path for path, _ in _descend(call, top)]
    for path in paths:
        try:
            call.client.set_permissions(path, permissions, call.transaction)
        except XenstoreError as error:
            reason = os.strerror(error.errno)
            raise CommandError(
                f"Error occurred setting permissions on '{path}': {reason}"
            ) from None


def watch(call: Call) -> None:
    """Print the paths of events as they come; -n so many, -d down to a depth."""
    depth = int(call.options["d"]) if "d" in call.options else None
    for path in call.arguments:
        try:
            call.client.watch(path, path, depth)
        except XenstoreError:
            raise CommandError(f"Unable to add watch on {path}") from None
    remaining = int(call.options.get("n", -1))
    while remaining:
        path_seen, _ = call.client.next_event()
        call.output.write(path_seen + b"\n")
        call.output.flush()
        remaining -= 1


def _remove(call: Call, path: str) -> None:
    try:
        call.client.rm(path, call.transaction)
    except XenstoreError:
        raise CommandError(f"could not remove path {path}") from None


def _is_bare(call: Call, path: str) -> bool:
    """Whether a node has neither a value nor children."""
    try:
        value = call.client.read(path, call.transaction)
        return not value and not call.client.directory(path, call.transaction)
    except XenstoreError:
        return False


def _descend(call: Call, top: str) -> Iterator[tuple[str, int]]:
    """Yield the path and depth of all below ``top``, each before its children."""
    directory, transaction = call.client.directory, call.transaction
    try:
        names = directory(top, transaction)
    except XenstoreError as error:
        raise CommandError(f"xs_directory ({top}): {os.strerror(error.errno)}") from None
    pending = [(f"{top.rstrip('/')}/{name}", 0) for name in reversed(names)]
    while pending:
        path, depth = pending.pop()
        yield path, depth
        try:
            names = directory(path, transaction)
        except XenstoreError:
            # It has gone since its parent was listed.
            continue
        pending += [(f"{path}/{name}", depth + 1) for name in reversed(names)]


def _ls_line(call: Call, path: str, label: bytes, width: int, column: int) -> bytes:
    """A node's line; the value is cut to fit into ``width`` columns."""
    permissions = _permissions(call.client, path) if "p" in call.options else b""
    try:
        value = call.client.read(path)
    except XenstoreError:
        return b"%b:\n%b\n" % (label, permissions)
    if len(label) + len(value) + _VALUE_FRAME > width:
        shown = _cut(escape(value), width - _VALUE_FRAME - len(label))
        return b'%b = "%b\\..."%b\n' % (label, shown, permissions)
    line = b'%b = "%b"' % (label, escape(value))
    if permissions:
        dots = (b"." if position & 1 else b" " for position in range(len(line) + 1, column))
        line += b" " + b"".join(dots)
    return line + permissions + b"\n"


def _cut(text: bytes, length: int) -> bytes:
    """The first ``length`` bytes, or all if not even the frame fits, as printf cuts."""
    return text[:length] if length >= 0 else text


def _permissions(client: Client, path: str) -> bytes:
    try:
        return f"  ({','.join(client.get_permissions(path))})".encode()
    except XenstoreError:
        # Like its value, if it has gone since its parent was listed.
        return b""
