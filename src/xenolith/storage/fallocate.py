"""fallocate(2): giving parts of a file back, and zeroing them without writing."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

from xenolith.storage.file import ImageFile

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_ZERO_RANGE = 0x10

_ZEROES = bytes(1 << 20)


def punch_hole(file: ImageFile, offset: int, length: int) -> bool:
    """Give a range back, so that it reads as zeroes; False where the host cannot."""
    return give_back(file.fd, offset, length)


def give_back(fd: int, offset: int, length: int) -> bool:
    """As :func:`punch_hole` for a descriptor."""
    return _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)


def make_zero(file: ImageFile, offset: int, length: int) -> None:
    """Have a range within the file read as zeroes, by the cheapest means that the host has."""
    if length <= 0 or punch_hole(file, offset, length):
        return
    if not _fallocate(file.fd, _ZERO_RANGE | _KEEP_SIZE, offset, length):
        write_zeroes(file, offset, length)


def write_zeroes(file: ImageFile, offset: int, length: int) -> None:
    """Write zeroes, with space allocated for them."""
    whole, rest = divmod(length, len(_ZEROES))
    for index in range(whole):
        file.write(_ZEROES, offset + index * len(_ZEROES))
    if rest:
        file.write(_ZEROES[:rest], offset + whole * len(_ZEROES))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return libc


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    while _libc().fallocate(fd, mode, offset, length) != 0:
        error = ctypes.get_errno()
        # EINVAL is what a block device says of ranges that are not whole blocks of it.
        if error in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL):
            return False
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))
    return True
