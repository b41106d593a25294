"""Finds the compressed kernel inside a Linux bzImage and unpacks it.

The setup header is defined by Linux's Documentation/arch/x86/boot.rst; payload_offset and
payload_length exist since boot protocol 2.08.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from xenolith.builder.decompress import decompress
from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile

_SECTOR = 512
_SETUP_SECTS = 0x1F1
_BOOT_FLAG = 0x1FE
_HEADER_MAGIC = 0x202
_VERSION = 0x206
_PAYLOAD_OFFSET = 0x248
_PAYLOAD_LENGTH = 0x24C
_HEADER_END = 0x250

_PROTOCOL_WITH_PAYLOAD = 0x208
_DEFAULT_SETUP_SECTS = 4

LARGEST_KERNEL = 512 << 20
"""Bytes that a kernel may unpack to; Debian's largest takes 63 MiB."""

_CHUNK = 1 << 16
"""The least that becomes a hole where a kernel is zero: its bss, and space that it uses later."""

_ZEROES = memoryview(bytes(_CHUNK))


@dataclass(frozen=True, slots=True)
class Payload:
    """Where the compressed kernel lies in the file, in bytes, and how large it unpacks."""

    offset: int
    length: int
    unpacked_size: int


def is_bzimage(image: ImageFile) -> bool:
    """Whether the file starts like a Linux boot sector with a setup header."""
    if image.size < _HEADER_END:
        return False
    return image.read(_HEADER_MAGIC, 4) == b"HdrS"


def find_payload(image: ImageFile) -> Payload:
    """Locate the compressed kernel of a bzImage.

    Every Linux payload ends with its unpacked length: gzip by its own format, the other
    formats by four bytes that Linux's build appends.
    """
    header = image.read(0, _HEADER_END) if image.size >= _HEADER_END else b""
    if _word(header, _HEADER_MAGIC, 4) != int.from_bytes(b"HdrS", "little"):
        raise BuildError(f"{image.name} is not a Linux bzImage")
    if _word(header, _BOOT_FLAG, 2) != 0xAA55:
        raise BuildError(f"{image.name} is damaged: its boot sector has no 0xaa55 signature")
    version = _word(header, _VERSION, 2)
    if version < _PROTOCOL_WITH_PAYLOAD:
        raise BuildError(
            f"{image.name} speaks boot protocol {version >> 8}.{version & 0xFF:02}, "
            "which has no payload field; 2.08 (Linux 2.6.26) or newer is needed"
        )
    setup_sects = _word(header, _SETUP_SECTS, 1) or _DEFAULT_SETUP_SECTS
    offset = (setup_sects + 1) * _SECTOR + _word(header, _PAYLOAD_OFFSET, 4)
    length = _word(header, _PAYLOAD_LENGTH, 4)
    if offset + length > image.size:
        raise BuildError(
            f"{image.name} is truncated: its compressed kernel ends at byte "
            f"{offset + length}, the file at {image.size}"
        )
    if length < 8:
        raise BuildError(f"{image.name} holds no compressed kernel")
    unpacked_size = int.from_bytes(image.read(offset + length - 4, 4), "little")
    if unpacked_size > LARGEST_KERNEL:
        raise BuildError(
            f"{image.name} says that its kernel unpacks to {unpacked_size >> 20} MiB; "
            f"{LARGEST_KERNEL >> 20} MiB is the limit"
        )
    return Payload(offset, length, unpacked_size)


def unpack_kernel(image: ImageFile, destination: int) -> None:
    """Write the kernel inside a bzImage to the empty file ``destination``, which may get holes.

    BuildError if the file is not a sound bzImage. Memory use does not depend on the sizes
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


def _word(header: bytes, offset: int, size: int) -> int:
    return int.from_bytes(header[offset : offset + size], "little")


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
