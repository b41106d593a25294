"""The store's memory across restarts: a file to which every commit is appended.

The format is our own. A record is a header (length and CRC-32 of the body, 32 bits each, little
endian) and a body of one or more changes, each: kind (8 bits), domid (32, signed), number (64,
signed), length of path (16), length of data (32), path, data. A record is one commit: it counts
as a whole or, if the last write was cut short, not at all. Now and then the file is replaced by one
that describes the present state only.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

from xenolith.xenstore.change import Change, ChangeKind

_log = logging.getLogger(__name__)

MAGIC = b"xenolith xenstore journal 1\n"

_RECORD = struct.Struct("<II")
_CHANGE = struct.Struct("<BiqHI")
_SLACK = 1 << 20
_GROWTH = 4
_KINDS = {int(kind): kind for kind in ChangeKind}


class JournalError(Exception):
    """The journal cannot be used: it is another's, or not a journal."""


class Journal:
    """An open journal, ours alone. OSError from the file system names the journal."""

    def __init__(self, path: str) -> None:
        """Open the journal at ``path``, created if need be; JournalError if it is in use."""
        self._path = path
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A record lock, unlike flock, is not inherited by the processes forked from here.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise JournalError(f"{path} is in use by another process") from None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        self._live_size = 0
        self._torn = False

    def load(self) -> list[Change]:
        """All changes, in order; a torn record at the end is cut off.

        JournalError if the file is not a journal, or one of a later version.
        """
        with open(self._path, "rb") as file:
            content = file.read()
        if not MAGIC.startswith(content[: len(MAGIC)]):
            raise JournalError(f"{self._path} is not a journal of xenstore")
        if len(content) < len(MAGIC):
            self._truncate(0)
            self._write(MAGIC)
            return []
        changes: list[Change] = []
        end = len(MAGIC)
        for body in _bodies(content):
            changes.extend(_decode(body))
            end += _RECORD.size + len(body)
        if end < len(content):
            _log.warning("%s: dropped %d bytes of a torn record", self._path, len(content) - end)
            self._truncate(end)
        return changes

    def append(self, changes: Iterable[Change]) -> None:
        """Make one commit outlast this process; OSError if it could not be stored."""
        self._write(_record(changes))

    def compact_if_due(self, state: Callable[[], Iterable[Change]]) -> None:
        """Replace the file by ``state()``, changes that lead there, if it has grown enough."""
        if self._size > _SLACK + _GROWTH * self._live_size:
            self._compact(state())

    def close(self) -> None:
        """Release the file and the lock."""
        os.close(self._file)
        os.close(self._lock)

    def _compact(self, state: Iterable[Change]) -> None:
        fresh = f"{self._path}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600)
        try:
            with open(file, "wb", closefd=False) as stream:
                stream.write(MAGIC)
                for change in state:
                    stream.write(_record((change,)))
            os.rename(fresh, self._path)
        except OSError:
            # The old file still holds everything; try again when it has doubled.
            os.close(file)
            self._live_size = self._size
            return
        os.close(self._file)
        self._file = file
        self._size = self._live_size = os.fstat(file).st_size

    def _write(self, data: bytes) -> None:
        try:
            if self._torn:
                # Nothing may follow half a record.
                self._truncate(self._size)
            self._torn = True
            written = os.write(self._file, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        self._torn = False
        self._size += written

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._file, size)
        self._size = size


def _record(changes: Iterable[Change]) -> bytes:
    body = b"".join([_encode(change) for change in changes])
    return _RECORD.pack(len(body), zlib.crc32(body)) + body


def _encode(change: Change) -> bytes:
    kind, path, data, domid, number = change
    return b"%b%b%b" % (
        _CHANGE.pack(kind, domid, number, len(path), len(data)),
        path.encode("ascii"),
        data,
    )


def _bodies(content: bytes) -> Iterator[bytes]:
    """Yield the bodies of the whole records at the start of a file."""
    start = len(MAGIC)
    while len(content) - start >= _RECORD.size:
        length, checksum = _RECORD.unpack_from(content, start)
        body = content[start + _RECORD.size : start + _RECORD.size + length]
        if not body or len(body) != length or zlib.crc32(body) != checksum:
            return
        yield body
        start += _RECORD.size + length


def _decode(body: bytes) -> Iterator[Change]:
    start = 0
    while start < len(body):
        kind, domid, number, path_size, data_size = _CHANGE.unpack_from(body, start)
        start += _CHANGE.size
        if kind not in _KINDS:
            raise JournalError(f"the journal has a change of unknown kind {kind}")
        path = body[start : start + path_size].decode("ascii")
        start += path_size
        yield Change(_KINDS[kind], path, body[start : start + data_size], domid, number)
        start += data_size
