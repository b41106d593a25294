"""Finds the compressed kernel inside a Linux bzImage.

The setup header is defined by Linux's Documentation/arch/x86/boot.rst; payload_offset and
payload_length exist since boot protocol 2.08.
"""

from __future__ import annotations

from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile
from xenolith.builder.payload import Payload

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
    return Payload(offset, length, unpacked_size)


def _word(header: bytes, offset: int, size: int) -> int:
    return int.from_bytes(header[offset : offset + size], "little")
