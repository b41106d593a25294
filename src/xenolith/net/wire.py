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
_CHUNK = 1 << 18
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
        """The next frame; None if there is none now. WireClosedError.

        May be called while another thread sends.
        """

    def close(self) -> None:
        """Give the descriptor back."""


class MessageWire:
    """Each frame is a message behind a virtio_net_hdr: our switch's ports, Linux's taps."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

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
        try:
            message = memoryview(os.read(self._fd, HEADER_BYTES + MAX_FRAME))
        except BlockingIOError:
            return None
        except OSError as error:
            raise WireClosedError(error.strerror) from None
        if not message:
            raise WireClosedError("the other end is closed")
        if message[:HEADER_BYTES] == PACKED_NOTHING:
            return Frame(message[HEADER_BYTES:], NOTHING)
        if len(message) < HEADER_BYTES:
            raise WireClosedError("a message without a header")
        return Frame(message[HEADER_BYTES:], unpack_offload(message))

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
        self._received = memoryview(b"")
        """What was read and not taken yet."""

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
        """Take a frame out of what was read, if one is there whole."""
        received = self._received
        if len(received) < _LENGTH_BYTES:
            return None
        size = int.from_bytes(received[:_LENGTH_BYTES], "big")
        if size > MAX_FRAME:
            raise WireClosedError(f"a frame of {size} bytes cannot be")
        end = _LENGTH_BYTES + size
        if len(received) < end:
            return None
        self._received = received[end:]
        return Frame(received[_LENGTH_BYTES:end], VALIDATED)

    def _fill(self) -> bool:
        """Read what there is behind what was not taken; whether there was anything."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise WireClosedError(error.strerror) from None
        if not data:
            raise WireClosedError("the other end is closed")
        self._received = memoryview(b"".join((self._received, data)) if self._received else data)
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
