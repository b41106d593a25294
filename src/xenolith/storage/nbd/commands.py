"""The commands of NBD's transmission phase, executed on an image.

Follows doc/proto.md of the NBD project. A request that makes no sense, or that the image fails, is
answered by an error; it changes nothing else.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xenolith.storage.errors import ImageError
from xenolith.storage.image import SECTOR_SIZE, Extent, Image
from xenolith.storage.nbd import protocol
from xenolith.storage.nbd.constants import (
    CHUNK_DONE,
    MAX_PAYLOAD,
    Command,
    CommandFlag,
    NbdError,
    State,
    TransmissionFlag,
)
from xenolith.storage.nbd.protocol import Descriptor, Request
from xenolith.storage.nbd.server_handshake import ALLOCATION_CONTEXT, Session

Reply = list[bytes | memoryview]

_SHORTEST_HOLE = 32 << 10
"""Zeroes that are worth a chunk of their own in the reply to a read."""

_FLAGS = {
    Command.READ: CommandFlag.DF,
    Command.WRITE_ZEROES: CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO,
    Command.BLOCK_STATUS: CommandFlag.REQ_ONE,
}
_CHANGING = (Command.WRITE, Command.TRIM, Command.WRITE_ZEROES)
_ALLOCATING = (Command.WRITE, Command.WRITE_ZEROES)

_ERRORS = {
    errno.EPERM: NbdError.EPERM,
    errno.EROFS: NbdError.EPERM,
    errno.ENOMEM: NbdError.ENOMEM,
    errno.EINVAL: NbdError.EINVAL,
    errno.ENOSPC: NbdError.ENOSPC,
    errno.EDQUOT: NbdError.ENOSPC,
    errno.EFBIG: NbdError.ENOSPC,
    errno.EOPNOTSUPP: NbdError.ENOTSUP,
}


class Exchange(NamedTuple):
    """A request, and memory for its data; that of a write is in it."""

    request: Request
    data: memoryview


class _Run(NamedTuple):
    offset: int
    length: int
    zero: bool


class _Failed(Exception):  # noqa: N818 - an answer, no error of ours
    def __init__(self, error: NbdError, sentence: str) -> None:
        super().__init__(sentence)
        self.error = error


def transmission_flags(image: Image) -> TransmissionFlag:
    """What an image can do for clients."""
    flags = (
        TransmissionFlag.HAS_FLAGS
        | TransmissionFlag.SEND_FLUSH
        | TransmissionFlag.SEND_FUA
        | TransmissionFlag.SEND_CACHE
        | TransmissionFlag.CAN_MULTI_CONN
    )
    if image.read_only:
        return flags | TransmissionFlag.READ_ONLY
    flags |= TransmissionFlag.SEND_TRIM | TransmissionFlag.SEND_WRITE_ZEROES
    if hasattr(image, "extents"):
        flags |= TransmissionFlag.SEND_FAST_ZERO
    return flags


class Commands:
    """What one client may do to an image, whose first ``size`` bytes are exported."""

    def __init__(self, image: Image, size: int, session: Session) -> None:
        self._image = image
        self._size = size
        self._session = session
        self._extents: Callable[[int, int], Iterable[Extent]] | None = getattr(
            image, "extents", None
        )
        self._handlers: dict[int, Callable[[Request, memoryview], Reply]] = {
            Command.READ: self._read,
            Command.WRITE: self._write,
            Command.FLUSH: self._flush,
            Command.TRIM: self._trim,
            Command.CACHE: self._cache,
            Command.WRITE_ZEROES: self._write_zeroes,
            Command.BLOCK_STATUS: self._block_status,
        }

    def execute_at_once(self, exchange: Exchange) -> Reply | None:
        """The reply to a short read of what is in the host's memory; None for all else."""
        request, data = exchange
        if request.type != Command.READ or request.length >= _SHORTEST_HOLE:
            return None
        try:
            self._check(request)
            if not self._image.readv_nowait([data], request.offset):
                return None
        except (_Failed, ImageError, OSError):
            # It is tried once more, and then replied to.
            return None
        return [self._data_head(request), data]

    def execute(self, exchange: Exchange) -> Reply:
        """Do what a request asks; the reply may hold the memory of the exchange."""
        request, data = exchange
        try:
            self._check(request)
            return self._handlers[request.type](request, data)
        except _Failed as failure:
            error, sentence = failure.error, str(failure)
        except ImageError as failure:
            error, sentence = NbdError.EIO, str(failure)
        except OSError as failure:
            error = _ERRORS.get(failure.errno or 0, NbdError.EIO)
            sentence = failure.strerror or "input or output failed"
        if self._session.structured:
            return [protocol.encode_error_chunk(request.cookie, error, sentence)]
        return [protocol.encode_reply(request.cookie, error)]

    def _check(self, request: Request) -> None:
        if request.type not in self._handlers:
            raise _Failed(NbdError.EINVAL, f"command {request.type} is not supported")
        command = Command(request.type)
        if request.flags & ~int(_FLAGS.get(command, 0) | CommandFlag.FUA):
            raise _Failed(NbdError.EINVAL, f"flags {request.flags:#x} make no sense here")
        if command in _CHANGING and self._image.read_only:
            raise _Failed(NbdError.EPERM, "the export is read-only")
        if command == Command.FLUSH:
            return
        if request.offset + request.length > self._size:
            error = NbdError.ENOSPC if command in _ALLOCATING else NbdError.EINVAL
            raise _Failed(error, f"the export ends at byte {self._size}")
        if not request.length or (request.offset | request.length) % SECTOR_SIZE:
            raise _Failed(NbdError.EINVAL, f"requests are of whole blocks of {SECTOR_SIZE} bytes")

    def _read(self, request: Request, data: memoryview) -> Reply:
        _, _, cookie, offset, length = request
        if length > MAX_PAYLOAD:
            raise _Failed(NbdError.EINVAL, f"one read has {MAX_PAYLOAD} bytes at most")
        if not self._session.structured:
            self._image.readv([data], offset)
            return [self._data_head(request), data]
        runs = list(self._runs(request))
        reply: Reply = []
        for run in runs:
            flags = CHUNK_DONE if run is runs[-1] else 0
            if run.zero:
                reply.append(protocol.encode_hole_chunk(cookie, run.offset, run.length, flags))
                continue
            at = run.offset - offset
            content = data[at : at + run.length]
            self._image.readv([content], run.offset)
            head = protocol.encode_data_chunk(cookie, run.offset, run.length, flags)
            reply += [head, content]
        return reply

    def _data_head(self, request: Request) -> bytes:
        """What precedes all data of a read in one piece."""
        _, _, cookie, offset, length = request
        if self._session.structured:
            return protocol.encode_data_chunk(cookie, offset, length, CHUNK_DONE)
        return protocol.encode_reply(cookie)

    def _runs(self, request: Request) -> Iterator[_Run]:
        """Cut a read into holes that are worth it and the data between them."""
        start, end = request.offset, request.offset + request.length
        if self._extents is not None and not request.flags & CommandFlag.DF:
            at = start
            for extent in self._extents(request.offset, request.length):
                if extent.zero and extent.length >= _SHORTEST_HOLE:
                    if start < at:
                        yield _Run(start, at - start, zero=False)
                    yield _Run(at, extent.length, zero=True)
                    start = at + extent.length
                at += extent.length
        if start < end:
            yield _Run(start, end - start, zero=False)

    def _write(self, request: Request, data: memoryview) -> Reply:
        self._image.writev([data], request.offset)
        return self._done(request)

    def _flush(self, request: Request, _data: memoryview) -> Reply:
        if not self._image.read_only:
            self._image.flush()
        return [protocol.encode_reply(request.cookie)]

    def _trim(self, request: Request, _data: memoryview) -> Reply:
        self._image.discard(request.offset, request.length)
        return self._done(request)

    def _cache(self, request: Request, data: memoryview) -> Reply:
        for offset, piece in _pieces(request, data):
            self._image.readv([piece], offset)
        return [protocol.encode_reply(request.cookie)]

    def _write_zeroes(self, request: Request, data: memoryview) -> Reply:
        allocate = bool(request.flags & CommandFlag.NO_HOLE)
        if request.flags & CommandFlag.FAST_ZERO:
            # Fast is only what needs not be done.
            if not self._reads_as_zeroes(request, allocate):
                raise _Failed(NbdError.ENOTSUP, "zeroes are not faster than a write here")
        elif allocate:
            data[:] = bytes(len(data))
            for offset, piece in _pieces(request, data):
                self._image.writev([piece], offset)
        else:
            self._image.write_zeroes(request.offset, request.length)
        return self._done(request)

    def _reads_as_zeroes(self, request: Request, allocated: bool) -> bool:
        if self._extents is None:
            return False
        extents = self._extents(request.offset, request.length)
        return all(extent.zero and extent.allocated >= allocated for extent in extents)

    def _block_status(self, request: Request, _data: memoryview) -> Reply:
        if not self._session.allocation:
            raise _Failed(NbdError.EINVAL, "no metadata context was agreed upon")
        limit = 1 if request.flags & CommandFlag.REQ_ONE else protocol.MAX_DESCRIPTORS
        descriptors = [Descriptor(request.length, 0)]
        if self._extents is not None:
            extents = self._extents(request.offset, request.length)
            descriptors = _descriptors(extents, limit)
        return [protocol.encode_status_chunk(request.cookie, ALLOCATION_CONTEXT, descriptors)]

    def _done(self, request: Request) -> Reply:
        if request.flags & CommandFlag.FUA:
            self._image.flush()
        return [protocol.encode_reply(request.cookie)]


def _pieces(request: Request, data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The offsets of a request's range in steps of the memory that there is for it."""
    for done in range(0, request.length, len(data)):
        yield request.offset + done, data[: request.length - done]


def _descriptors(extents: Iterable[Extent], limit: int) -> list[Descriptor]:
    """The states of a range, alike neighbours joined, until there are ``limit``."""
    descriptors: list[Descriptor] = []
    for length, allocated, zero in extents:
        state = (0 if allocated else State.HOLE) | (State.ZERO if zero else 0)
        if descriptors and descriptors[-1].state == state:
            descriptors[-1] = Descriptor(descriptors[-1].length + length, state)
        elif len(descriptors) == limit:
            break
        else:
            descriptors.append(Descriptor(length, state))
    return descriptors
