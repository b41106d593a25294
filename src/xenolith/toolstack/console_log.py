"""The log of a domain's console: all that the guest prints, kept in a file, read at many offsets.

What the file cannot take, because its disk is full, waits in a bounded memory; what exceeds that
is lost, oldest first, and a line in its place says how much. The guest never notices. Nor does it
fill the disk: the file keeps the last MOST bytes, and is a hole before them.
"""

from __future__ import annotations

import errno
import os
import threading

from xenolith.storage import fallocate

KEEP = 1 << 20
"""Bytes that wait in memory while the file takes none."""

MOST = 256 << 20
"""Bytes that the file keeps, those of earlier lives of the domain included."""
_STEP = 16 << 20
"""How much more there is before the oldest are given up."""
_BLOCK = 4096

_EMPTIED = b"\r\n[xenolith: the log keeps the last %d MiB; what was before is gone]\r\n"
_NOTE = "\r\n[xenolith: {:15d} bytes are missing here, the log could not be written]\r\n"
_NOTE_LENGTH = len(_NOTE.format(0))


class Cursor:
    """How far one reader has read: an offset into the stream, kept right by the log."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = 0


class ConsoleLog:
    """The stream that a guest printed: first what is in the file, then what waits in memory.

    The stream starts where the file ended when the log was made, so a file serves the lives of
    a domain one after the other. Any thread may append; the others belong to one thread.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._base = os.lseek(fd, 0, os.SEEK_END)
        self._stored = 0
        self._kept_from = 0
        """Offset in the file: before it there is a hole."""
        self._waiting = bytearray()
        # What waits is: the rest of a note that is half stored, a note if bytes are missing, data.
        self._half_note = 0
        self._missing = 0
        self._cursors: set[Cursor] = set()

    @classmethod
    def of_part(cls, fd: int, start: int, end: int) -> ConsoleLog:
        """The log of a domain that has ended: this part of the file, to be read only."""
        log = cls(fd)
        log._base, log._stored = start, max(0, end - start)
        log._kept_from = _first_data(fd, start, end)
        return log

    def open_cursor(self) -> Cursor:
        """A reader's place, at the start of the stream."""
        cursor = Cursor()
        with self._lock:
            self._cursors.add(cursor)
        return cursor

    def close_cursor(self, cursor: Cursor) -> None:
        """Forget a reader."""
        with self._lock:
            self._cursors.discard(cursor)

    def append(self, data: bytes) -> None:
        """Add what the guest printed; store it if the file takes it."""
        with self._lock:
            self._waiting += data
            try:
                while self._waiting:
                    self._store_some()
            except OSError:
                # Tried again with the next output; the cause (a full disk) others must mend.
                excess = len(self._waiting) - self._data_start - KEEP
                if excess > 0:
                    self._lose(excess)

    def read(self, cursor: Cursor, size: int) -> bytes:
        """At most ``size`` (> 0) bytes from a reader's place, which moves on; b"" at the end.

        A part of the file that somebody else removed is skipped, and so is what the file has not kept: then the
        bytes are those of a note.
        """
        with self._lock:
            if self._base + cursor.offset < self._kept_from and cursor.offset < self._stored:
                cursor.offset = min(self._kept_from - self._base, self._stored)
                return (_EMPTIED % (MOST >> 20))[:size]
            data = b""
            if cursor.offset < self._stored:
                stored = min(size, self._stored - cursor.offset)
                data = os.pread(self._fd, stored, self._base + cursor.offset)
            if not data:
                cursor.offset = max(cursor.offset, self._stored)
                start = cursor.offset - self._stored
                data = bytes(self._waiting[start : start + size])
            cursor.offset += len(data)
            return data

    @property
    def _data_start(self) -> int:
        """Where the data starts in what waits."""
        return self._half_note + (_NOTE_LENGTH if self._missing else 0)

    def _store_some(self) -> None:
        written = os.write(self._fd, self._waiting)
        del self._waiting[:written]
        self._stored += written
        if written <= self._half_note:
            self._half_note -= written
        else:
            self._half_note = max(0, self._data_start - written)
            self._missing = 0
        end = self._base + self._stored
        if end - self._kept_from > MOST + _STEP:
            self._empty((end - MOST) // _BLOCK * _BLOCK)

    def _empty(self, end: int) -> None:
        """Make a hole of the file up to an offset. Where the host cannot, the file grows on."""
        if fallocate.give_back(self._fd, self._kept_from, end - self._kept_from):
            self._kept_from = end

    def _lose(self, count: int) -> None:
        """Drop the ``count`` oldest bytes that wait, and say so in their place."""
        note, lost_end = self._half_note, self._data_start + count
        self._missing += count
        self._waiting[note:lost_end] = _NOTE.format(self._missing).encode()
        for cursor in self._cursors:
            ahead = cursor.offset - self._stored
            if ahead >= lost_end:
                cursor.offset += self._data_start - lost_end
            elif ahead > lost_end - count:
                # It missed a part of what is gone: let it read the note.
                cursor.offset = self._stored + note


def _first_data(fd: int, start: int, end: int) -> int:
    """Where the first data of a part of a file is that may begin in a hole; its end if it is one."""
    try:
        return min(os.lseek(fd, start, os.SEEK_DATA), end)
    except OSError as error:
        # A file system that knows of no holes has none.
        return end if error.errno == errno.ENXIO else start
