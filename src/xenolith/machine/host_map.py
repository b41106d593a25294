"""Maps of files at chosen host addresses, which Python's mmap module cannot make (mmap(2))."""

from __future__ import annotations

import ctypes
import mmap
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_NO_ACCESS = 0
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_FIXED = 0x10
_NORESERVE = 0x4000
_FAILED = ctypes.c_void_p(-1).value


def map_shared(fd: int, offset: int, size: int) -> int:
    """Map part of a file, writes going to the file; the host address. OSError."""
    return _map(None, size, mmap.MAP_SHARED | _NORESERVE, fd, offset)


def replace_shared(address: int, fd: int, offset: int, size: int) -> None:
    """Put part of a file in place of what is mapped at a host address, which must be the caller's."""
    _map(address, size, mmap.MAP_SHARED | _NORESERVE | _FIXED, fd, offset)


def replace_private(address: int, fd: int, offset: int, size: int) -> None:
    """As :func:`replace_shared`, but writes stay in the process and leave the file alone."""
    _map(address, size, mmap.MAP_PRIVATE | _FIXED, fd, offset)


def replace_inaccessible(address: int, size: int) -> None:
    """Put nothing, which nobody may touch, in place of what is mapped at a host address of the caller's."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE | _FIXED
    _map(address, size, flags, -1, 0, _NO_ACCESS)


def unmap(address: int, size: int) -> None:
    """Undo a map of the caller's."""
    _libc.munmap(address, size)


def _map(
    address: int | None, size: int, flags: int, fd: int, offset: int, access: int = _READ_WRITE
) -> int:
    mapped: int = _libc.mmap(address, size, access, flags, fd, offset)
    if mapped == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return mapped
