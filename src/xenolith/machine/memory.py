"""The memory of one domain: a memory file mapped whole, addressed by machine frame number.

It is mapped without reserving swap, so it may be larger than the host's memory: a frame costs
nothing until it is touched and nothing again after :meth:`MachineMemory.discard`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref

from xenolith.machine.address import PAGE_SHIFT, PAGE_SIZE, Mfn

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_MAP_NORESERVE = 0x4000


class MachineMemory:
    """``frames`` machine frames of 4096 bytes, all zero, backed by a memfd."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.size = frames << PAGE_SHIFT
        self.fd = os.memfd_create("xenolith-memory", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.fd)
        os.ftruncate(self.fd, self.size)
        self._map = mmap.mmap(self.fd, self.size, flags=mmap.MAP_SHARED | _MAP_NORESERVE)
        self.view = memoryview(self._map)
        # The map outlives every user of the address: it is never closed while self.view exists.
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def read(self, address: int, size: int) -> bytes:
        """Copy ``size`` bytes at a machine byte address; IndexError outside the memory."""
        self._check(address, size)
        return bytes(self.view[address : address + size])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store ``data`` at a machine byte address; IndexError outside the memory."""
        self._check(address, len(data))
        self.view[address : address + len(data)] = data

    def load(self, address: int, fd: int, offset: int, size: int) -> int:
        """Copy ``size`` bytes of a file to fresh frames; fewer where the file ends before.

        Returns how many. ``address`` is a machine byte address; IndexError outside the memory. This
        takes half as long as a read into the map, because the frames are neither zeroed nor faulted
        in first; holes of the file cost nothing, and no memory.
        """
        self._check(address, size)
        end = max(offset, min(offset + size, os.fstat(fd).st_size))
        at = offset
        while at < end and (found := _next_data(fd, at)) is not None and found[0] < end:
            at, hole = found
            # Nobody else uses the memory file's position.
            os.lseek(self.fd, address + at - offset, os.SEEK_SET)
            while at < min(hole, end):
                count = os.sendfile(self.fd, fd, at, min(hole, end) - at)
                if count == 0:
                    return at - offset
                at += count
        return end - offset

    def frame(self, mfn: Mfn) -> memoryview:
        """A writable view of one frame; IndexError outside the memory."""
        self._check(mfn << PAGE_SHIFT, PAGE_SIZE)
        return self.view[mfn << PAGE_SHIFT : (mfn + 1) << PAGE_SHIFT]

    def discard(self, mfn: Mfn, count: int = 1) -> None:
        """Give ``count`` frames back to the host; they read as zero afterwards."""
        self._check(mfn << PAGE_SHIFT, count << PAGE_SHIFT)
        mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
        if _libc.fallocate(self.fd, mode, mfn << PAGE_SHIFT, count << PAGE_SHIFT) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.size:
            raise IndexError(f"machine address {address:#x}+{size:#x} is outside the memory")


def _next_data(fd: int, offset: int) -> tuple[int, int] | None:
    """Where a file's next data starts and ends; None if there is none from ``offset`` on."""
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return start, os.lseek(fd, start, os.SEEK_HOLE)
