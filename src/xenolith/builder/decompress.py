"""Decompression of the formats that Linux kernels are packed with, in bounded memory.

Linux's scripts/Makefile.lib defines them: gzip, bzip2, lzma, xz, zstd, and LZ4's legacy frame.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

import lz4.block
import zstandard

from xenolith.builder.errors import BuildError
from xenolith.builder.image_file import ImageFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_INPUT_STEP = 256 << 10
_OUTPUT_STEP = 1 << 20
_LZ4_BLOCK = 8 << 20
_LZ4_LARGEST_INPUT = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
_ZSTD_LARGEST_WINDOW = 128 << 20
"""zstd -22 --ultra, which Linux's build uses, asks for a window of 128 MiB at most."""
_LZMA_MEMORY_LIMIT = 256 << 20


def decompress(image: ImageFile, offset: int, length: int) -> Iterator[bytes]:
    """Yield the unpacked bytes of the compressed stream at ``offset`` of the file.

    ``length`` covers the stream and whatever follows it, such as the size word of Linux's
    build, which is ignored. BuildError if the format is unknown or the stream is damaged.
    The pieces are of at most 8 MiB, however well the stream is compressed: a caller bounds the
    total by adding up.
    """
    form = _format_of(image, image.read(offset, min(length, 6)))
    source = io.BufferedReader(_Part(image, offset, length), _INPUT_STEP)
    try:
        yield from form.unpack(source)
    except (
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zstandard.ZstdError,
        lz4.block.LZ4BlockError,
        OSError,
    ) as error:
        raise BuildError(
            f"{image.name} is damaged: its {form.name} data cannot be unpacked ({error})"
        ) from error


class _Part(io.RawIOBase):
    """A part of a file as a stream."""

    def __init__(self, image: ImageFile, offset: int, length: int) -> None:
        super().__init__()
        self._image = image
        self._offset = offset
        self._end = offset + length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)[: self._end - self._offset]
        self._image.read_into(self._offset, target)
        self._offset += len(target)
        return len(target)


class _Decompressor(Protocol):
    """What the decompressors of bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _run(decompressor: _Decompressor, source: BinaryIO) -> Iterator[bytes]:
    while not decompressor.eof:
        data = source.read(_INPUT_STEP) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise EOFError("it ends too early")
        yield decompressor.decompress(data, _OUTPUT_STEP)


def _gzip(source: BinaryIO) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while not decompressor.eof:
        data = decompressor.unconsumed_tail or source.read(_INPUT_STEP)
        if not data:
            raise EOFError("it ends too early")
        yield decompressor.decompress(data, _OUTPUT_STEP)


def _bzip2(source: BinaryIO) -> Iterator[bytes]:
    return _run(bz2.BZ2Decompressor(), source)


def _xz(source: BinaryIO) -> Iterator[bytes]:
    return _run(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_LIMIT), source)


def _lzma(source: BinaryIO) -> Iterator[bytes]:
    return _run(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_LIMIT), source)


def _zstd(source: BinaryIO) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_LARGEST_WINDOW)
    return decompressor.read_to_iter(source, read_size=_INPUT_STEP, write_size=_OUTPUT_STEP)


def _lz4(source: BinaryIO) -> Iterator[bytes]:
    """LZ4's legacy frame: blocks of 8 MiB, each after its packed size, the last one shorter.

    Only the end of the input ends it, so the size word that Linux appends is what remains.
    """
    source.read(len(_LZ4_MAGIC))
    while len(word := source.read(4)) == 4:
        size = int.from_bytes(word, "little")
        if word == _LZ4_MAGIC:
            continue
        data = source.read(min(size, _LZ4_LARGEST_INPUT))
        if not data:
            return
        if len(data) < size:
            raise EOFError("it ends too early")
        yield lz4.block.decompress(data, uncompressed_size=_LZ4_BLOCK)


@dataclass(frozen=True, slots=True)
class _Format:
    name: str
    magic: bytes
    unpack: Callable[[BinaryIO], Iterator[bytes]]


_FORMATS = (
    _Format("gzip", b"\x1f\x8b", _gzip),
    _Format("bzip2", b"BZh", _bzip2),
    _Format("lzma", b"\x5d\x00\x00", _lzma),
    _Format("xz", b"\xfd7zXZ\x00", _xz),
    _Format("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    _Format("lz4", _LZ4_MAGIC, _lz4),
)


def _format_of(image: ImageFile, start: bytes) -> _Format:
    for form in _FORMATS:
        if start.startswith(form.magic):
            return form
    raise BuildError(
        f"{image.name} is packed in an unknown way (it starts with {start.hex(' ')}); "
        f"known are {', '.join(form.name for form in _FORMATS)}"
    )
