"""Unpacks kernels: those in a Linux bzImage, and ELF files that are packed by gzip as a whole.

As Xen's libxenguest does (xg_dom_bzimageloader.c, xc_dom_try_gunzip).
"""

from __future__ import annotations

import os

from xenolith.builder import bzimage
from xenolith.builder.decompress import decompress
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.payload import LARGEST_KERNEL, Payload

_GZIP_MAGIC = b"\x1f\x8b"
_SHORTEST_GZIP = 18

_CHUNK = 1 << 16
"""The least that becomes a hole where a kernel is zero: its bss, and space that it uses later."""

_ZEROES = memoryview(bytes(_CHUNK))


def is_packed(image: ImageFile) -> bool:
    """Whether the kernel is to be unpacked first."""
    return _is_gzip(image) or bzimage.is_bzimage(image)


def find_payload(image: ImageFile) -> Payload:
    """Locate the compressed kernel; BuildError if there is none, or none of a sensible size."""
    payload = _whole_file(image) if _is_gzip(image) else bzimage.find_payload(image)
    if payload.unpacked_size > LARGEST_KERNEL:
        raise BuildError(
            f"{image.name} says that its kernel unpacks to {payload.unpacked_size >> 20} MiB; "
            f"{LARGEST_KERNEL >> 20} MiB is the limit"
        )
    return payload


def _is_gzip(image: ImageFile) -> bool:
    return image.size >= _SHORTEST_GZIP and image.read(0, len(_GZIP_MAGIC)) == _GZIP_MAGIC


def _whole_file(image: ImageFile) -> Payload:
    """A gzip file ends with its unpacked length (RFC 1952)."""
    return Payload(0, image.size, int.from_bytes(image.read(image.size - 4, 4), "little"))


def unpack_kernel(image: ImageFile, destination: int) -> None:
    """Write the kernel inside a packed one to the empty file ``destination``, which may get holes.

    BuildError if the file is not sound. Memory use does not depend on the sizes
    that the file claims.
    """
    payload = find_payload(image)
    written = 0
    for piece in decompress(image, payload.offset, payload.length):
        offset, written = written, written + len(piece)
        if written > payload.unpacked_size:
            raise BuildError(
                f"{image.name} is damaged: its kernel unpacks to more than the "
                f"{payload.unpacked_size} bytes that it promises"
            )
        try:
            _write_sparsely(destination, piece, offset)
        except OSError as error:
            raise BuildError(f"{image.name} cannot be unpacked: {error.strerror}") from error
    if written != payload.unpacked_size:
        raise BuildError(
            f"{image.name} is damaged: its kernel unpacks to {written} bytes instead of the "
            f"{payload.unpacked_size} that it promises"
        )
    os.ftruncate(destination, written)


def _write_sparsely(fd: int, data: bytes, offset: int) -> None:
    """Write at an offset; what is zero in the file's whole chunks stays a hole."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        chunk = view[at : at + _CHUNK - (offset + at) % _CHUNK]
        if chunk != _ZEROES[: len(chunk)]:
            done = 0
            while done < len(chunk):
                done += os.pwrite(fd, chunk[done:], offset + at + done)
        at += len(chunk)
