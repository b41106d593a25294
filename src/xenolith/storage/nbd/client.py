"""An NBD export as an image: the client of a server, which may be a stock one.

Any number of threads have their requests under way on one socket. There is no thread of its own:
of those who wait for replies, one receives them, into the memory of whom they are for.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Self

from xenolith.storage.errors import ImageError
from xenolith.storage.image import SECTOR_SIZE, Extent
from xenolith.storage.nbd import stream
from xenolith.storage.nbd.client_handshake import Agreement, RefusedError, handshake
from xenolith.storage.nbd.constants import (
    MAX_PAYLOAD,
    Command,
    State,
    TransmissionFlag,
)
from xenolith.storage.nbd.pipeline import Pipeline
from xenolith.storage.nbd.protocol import ProtocolError
from xenolith.storage.vector import Cutter, total

HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a server may be silent before the export is there."""

_LONGEST = (1 << 32) - MAX_PAYLOAD
"""Bytes of a request without data: 32 bits, less what alignment takes."""
_ZEROES = memoryview(bytes(1 << 20))


class NbdImage:
    """An export (:class:`xenolith.storage.image.Image`); owns its socket.

    Once the server is gone every call fails with :class:`ServerGone`, an OSError (EIO).
    """

    def __init__(
        self,
        sock: socket.socket,
        export: str = "",
        *,
        name: str | None = None,
        read_only: bool = False,
        agreement: Agreement | None = None,
    ) -> None:
        """Hold the handshake on a connected socket; ImageError if that leads to nothing.

        ``name`` is what messages call the image, ``agreement`` what :func:`negotiate` has come to on that socket,
        if somebody has called it.
        """
        self.name = name or f"NBD export '{export}' of {_peer(sock)}"
        self._agreement = agreement or negotiate(sock, export, self.name)
        self._flags = self._agreement.flags
        self._read_only = read_only or TransmissionFlag.READ_ONLY in self._flags
        self._maximum = self._agreement.sizes.maximum // SECTOR_SIZE * SECTOR_SIZE
        self._pipeline = Pipeline(sock, self.name, self._agreement)

    @property
    def size(self) -> int:
        """Length in bytes, which the server told at the start; a last part of a sector is lost."""
        return self._agreement.size // SECTOR_SIZE * SECTOR_SIZE

    @property
    def read_only(self) -> bool:
        """Whether the server, or whoever opened the image, allows no change."""
        return self._read_only

    def readv(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Receive into the buffers."""
        for start, parts in self._cut(buffers):
            self._pipeline.read(offset + start, parts)

    def readv_nowait(self, _buffers: Sequence[memoryview], _offset: int) -> bool:
        """There is always another process to wait for."""
        return False

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Send the buffers."""
        self._check_writable()
        for start, parts in self._cut(buffers):
            self._pipeline.call(Command.WRITE, offset + start, total(parts), data=parts)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Have the server zero a range, or send zeroes where it cannot."""
        self._check_writable()
        if TransmissionFlag.SEND_WRITE_ZEROES in self._flags:
            self._over_range(Command.WRITE_ZEROES, offset, length)
            return
        for start in range(0, length, len(_ZEROES)):
            self.writev([_ZEROES[: length - start]], offset + start)

    def discard(self, offset: int, length: int) -> None:
        """Have the server discard a range, if it can."""
        self._check_writable()
        if TransmissionFlag.SEND_TRIM in self._flags:
            self._over_range(Command.TRIM, offset, length)

    def flush(self) -> None:
        """Have the server flush; one that knows no flush is believed to need none."""
        if TransmissionFlag.SEND_FLUSH in self._flags:
            self._pipeline.call(Command.FLUSH, 0, 0)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the server tells of a range; all is data where it tells nothing."""
        end = offset + length
        while offset < end:
            asked = min(end - offset, _LONGEST)
            if self._agreement.allocation_context is None:
                yield Extent(asked, allocated=True, zero=False)
                offset += asked
                continue
            for described, state in self._pipeline.block_status(offset, asked):
                # The last one may go on beyond what was asked.
                run = min(described, end - offset)
                if run:
                    yield Extent(
                        run, allocated=not state & State.HOLE, zero=bool(state & State.ZERO)
                    )
                offset += run

    def close(self) -> None:
        """Disconnect; calls under way in other threads fail."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self, buffers: Sequence[memoryview]) -> Iterator[tuple[int, Sequence[memoryview]]]:
        """Offsets and buffers of the requests that a transfer takes."""
        length, maximum = total(buffers), min(self._maximum, MAX_PAYLOAD)
        if length <= maximum:
            yield 0, buffers
            return
        cutter = Cutter(buffers)
        for start in range(0, length, maximum):
            yield start, cutter.take(min(maximum, length - start))

    def _over_range(self, command: Command, offset: int, length: int) -> None:
        for start in range(0, length, _LONGEST):
            self._pipeline.call(command, offset + start, min(_LONGEST, length - start))

    def _check_writable(self) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def negotiate(sock: socket.socket, export: str, name: str) -> Agreement:
    """Hold the handshake on a connected socket, which is closed on failure; ImageError, about ``name``."""
    try:
        sock.settimeout(HANDSHAKE_TIMEOUT)
        agreement = stream.converse(handshake(export), sock)
        sock.settimeout(None)
    except OSError as error:
        sock.close()
        raise ImageError(f"{name}: the server is gone: {error}") from error
    except ProtocolError as error:
        sock.close()
        raise ImageError(f"{name}: {error}") from error
    except RefusedError as error:
        sock.close()
        raise ImageError(f"{name}: the server refuses: {error}") from error
    if agreement.sizes.minimum > SECTOR_SIZE or agreement.sizes.maximum < SECTOR_SIZE:
        sock.close()
        raise ImageError(
            f"{name} takes requests of {agreement.sizes.minimum} to"
            f" {agreement.sizes.maximum} bytes only, and disks have sectors of {SECTOR_SIZE}"
        )
    return agreement


def connect_unix(path: str | os.PathLike[str]) -> socket.socket:
    """Connect to a server's unix socket; ImageError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.prepare(sock)
        sock.connect(os.fspath(path))
    except OSError as error:
        sock.close()
        raise ImageError(f"no NBD server answers at {path}: {error.strerror}") from error
    return sock


def connect_tcp(host: str, port: int) -> socket.socket:
    """Connect to a server over TCP; ImageError."""
    try:
        sock = socket.create_connection((host, port), HANDSHAKE_TIMEOUT)
    except OSError as error:
        raise ImageError(f"no NBD server answers at {host}:{port}: {error}") from error
    stream.prepare(sock)
    return sock


def _peer(sock: socket.socket) -> str:
    try:
        peer = sock.getpeername()
    except OSError:
        return "a server that is gone"
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer) or "a socket"
