"""Wires: a descriptor through which frames go to a network and come from it.

Nothing here opens anything: the descriptors are handed in, so that a jailed process can use them.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Protocol

from xenolith.net.errors import WireClosedError
from xenolith.net.frame import (
    HEADER_BYTES,
    MAX_FRAME,
    NOTHING,
    PACKED_NOTHING,
    VALIDATED,
    Frame,
    unpack_offload,
)

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADFD, errno.ENODEV)
_LENGTH_BYTES = 4
_STREAM_BUFFER = 1 << 19
_MAX_BATCH = 64
"""Frames in one system call; two buffers each, of the 1024 that Linux takes."""


class Wire(Protocol):
    """Carries frames whole or not at all; never waits."""

    def fileno(self) -> int:
        """The descriptor, readable when there may be a frame, writable when there may be room."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames; how many there was room for. WireClosedError.

        The others are to be given again, before any more: part of the first may be under way.
        """

    def receive(self) -> Frame | None:
        """The next frame, whose data is good until the next call; None if there is none now.

        WireClosedError.
        """

    def close(self) -> None:
        """Give the descriptor back."""


class MessageWire:
    """Each frame is a message behind a virtio_net_hdr: our switch's ports, Linux's taps."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)
        self._buffer = memoryview(bytearray(HEADER_BYTES + MAX_FRAME))

    def fileno(self) -> int:
        """See Wire."""
        return self._fd

    def send(self, frames: Sequence[Frame]) -> int:
        """See Wire."""
        for sent, (data, offload) in enumerate(frames):
            header = PACKED_NOTHING if offload is NOTHING else offload.pack()
            try:
                os.writev(self._fd, (header, data))
            except BlockingIOError:
                return sent
            except OSError as error:
                # A tap refuses single frames: it is down, or a header makes no sense to it.
                if error.errno in _GONE:
                    raise WireClosedError(error.strerror) from None
        return len(frames)

    def receive(self) -> Frame | None:
        """See Wire."""
        buffer = self._buffer
        try:
            size = os.readv(self._fd, (buffer,))
        except BlockingIOError:
            return None
        except OSError as error:
            raise WireClosedError(error.strerror) from None
        if not size:
            raise WireClosedError("the other end is closed")
        if buffer[:HEADER_BYTES] == PACKED_NOTHING:
            return Frame(buffer[HEADER_BYTES:size], NOTHING)
        return Frame(buffer[HEADER_BYTES:size], unpack_offload(buffer))

    def close(self) -> None:
        """See Wire."""
        os.close(self._fd)


class StreamWire:
    """Frames in a stream of bytes, each behind its length: passt, and QEMU's stream sockets.

    Such a peer takes TCP segments of any size and looks at no transport checksum, for it ends the
    connections in sockets of the host; what it sends has right ones, because it makes them.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self._under_way = 0
        """Bytes that are sent of the first frame that is not sent whole."""
        self._buffer = memoryview(bytearray(_STREAM_BUFFER))
        self._start = 0
        self._end = 0

    def fileno(self) -> int:
        """See Wire."""
        return self._socket.fileno()

    def send(self, frames: Sequence[Frame]) -> int:
        """See Wire."""
        done = 0
        while done < len(frames):
            batch = frames[done : done + _MAX_BATCH]
            sent = self._send(batch)
            for data, _ in batch:
                if sent < _LENGTH_BYTES + len(data):
                    self._under_way = sent
                    return done
                sent -= _LENGTH_BYTES + len(data)
                done += 1
            self._under_way = 0
        return done

    def receive(self) -> Frame | None:
        """See Wire."""
        frame = self._next()
        if frame is None and self._fill():
            frame = self._next()
        return frame

    def close(self) -> None:
        """See Wire."""
        self._socket.close()

    def _next(self) -> Frame | None:
        """Take a frame out of the buffer, if one is there whole."""
        body = self._start + _LENGTH_BYTES
        if self._end < body:
            return None
        size = int.from_bytes(self._buffer[self._start : body], "big")
        if size > MAX_FRAME:
            raise WireClosedError(f"a frame of {size} bytes cannot be")
        if self._end < body + size:
            return None
        self._start = body + size
        return Frame(self._buffer[body : body + size], VALIDATED)

    def _fill(self) -> bool:
        """Read what there is behind what is left in the buffer; whether there was anything."""
        left = self._end - self._start
        if self._start:
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
        self._start, self._end = 0, left
        try:
            size = self._socket.recv_into(self._buffer[left:])
        except BlockingIOError:
            return False
        except OSError as error:
            raise WireClosedError(error.strerror) from None
        if not size:
            raise WireClosedError("the other end is closed")
        self._end += size
        return True

    def _send(self, batch: Sequence[Frame]) -> int:
        """Send on; how many bytes of these frames have now been sent."""
        parts: list[bytes | memoryview] = []
        for data, _ in batch:
            parts += (len(data).to_bytes(_LENGTH_BYTES, "big"), data)
        if self._under_way:
            parts[:2] = [b"".join(parts[:2])[self._under_way :]]
        try:
            return self._under_way + self._socket.sendmsg(parts)
        except BlockingIOError:
            return self._under_way
        except OSError as error:
            raise WireClosedError(error.strerror) from None
