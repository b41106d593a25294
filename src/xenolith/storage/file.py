"""An open image file, and vectored transfers that are complete or fail.

The process that serves a guest gets files as descriptors, because its jail lets it open none; the
name is what messages call the file.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xenolith.storage.vector import IoVector, advance, total

_libc = ctypes.CDLL(None, use_errno=True)
for _call in (_libc.preadv2, _libc.pwritev2):
    _call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int]
    _call.restype = ctypes.c_ssize_t

_IOV_MAX = 1024
"""The most buffers that Linux takes in one call."""

_LARGEST_OFFSET = 1 << 62
"""No file is as large; a number from a damaged one can be."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A descriptor with the locks that were taken on it, and the path it was opened by."""

    fd: int
    name: str

    @property
    def size(self) -> int:
        """Length in bytes, of a block device too."""
        return os.lseek(self.fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes at ``offset``: less only where the file ends."""
        if offset > _LARGEST_OFFSET:
            return b""
        data = bytearray(length)
        return bytes(data[: self.readv([memoryview(data)], offset)])

    def readv(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill the buffers from ``offset``; return how many bytes there were before the end."""
        done, rest = 0, buffers
        if isinstance(buffers, IoVector):
            done = _transfer(_libc.preadv2, self.fd, buffers, offset, 0)
            rest = [] if done in (0, buffers.bytes) else advance(buffers, done)
        while rest:
            count = os.preadv(self.fd, rest[:_IOV_MAX], offset + done)
            if count == 0:
                break
            done += count
            rest = advance(rest, count)
        return done

    def readv_nowait(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Fill the buffers from the page cache alone; False where not all of it is there."""
        if len(buffers) > _IOV_MAX:
            return False
        try:
            if isinstance(buffers, IoVector):
                read = _transfer(_libc.preadv2, self.fd, buffers, offset, os.RWF_NOWAIT)
                return read == buffers.bytes
            return os.preadv(self.fd, buffers, offset, os.RWF_NOWAIT) == total(buffers)
        except OSError as error:
            # Some file systems, tmpfs among them, cannot tell whether they would wait.
            if error.errno in (errno.EAGAIN, errno.EINTR, errno.EOPNOTSUPP):
                return False
            raise

    def writev(self, buffers: Sequence[memoryview], offset: int) -> None:
        """Store all buffers at ``offset``, extending the file where need be."""
        done, rest = 0, buffers
        if isinstance(buffers, IoVector):
            done = _transfer(_libc.pwritev2, self.fd, buffers, offset, 0)
            rest = [] if done == buffers.bytes else advance(buffers, done)
        while rest:
            count = os.pwritev(self.fd, rest[:_IOV_MAX], offset + done)
            done += count
            rest = advance(rest, count)

    def write(self, data: bytes, offset: int) -> None:
        """Store ``data`` at ``offset``."""
        self.writev([memoryview(data)], offset)

    def sync(self) -> None:
        """Return when all that was written survives a power failure."""
        os.fdatasync(self.fd)

    def close(self) -> None:
        """Close the descriptor, which releases the locks once nobody else has it."""
        os.close(self.fd)


def _transfer(
    call: Callable[[int, int, int, int, int], int],
    fd: int,
    vector: IoVector,
    offset: int,
    flags: int,
) -> int:
    """Have preadv2(2) or pwritev2(2) carry out a vector, which has no more than IOV_MAX parts; OSError."""
    while True:
        done = call(fd, vector.address, vector.parts, offset, flags)
        if done >= 0:
            return done
        error = ctypes.get_errno()
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))
