"""Small ISO 9660 file systems: a few files in one directory, as Linux reads them.

ECMA-119 defines the format. Names are stored as they are, in lower case and without versions, which
Linux takes (and its standard does not).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from xenolith.builder.errors import BuildError

BLOCK = 2048

_DESCRIPTORS = 16
"""The block of the first volume descriptor."""
_PATH_TABLE_LITTLE, _PATH_TABLE_BIG, _ROOT, _FILES = range(18, 22)
_DIRECTORY = 2
_DATE = bytes((100, 1, 1, 0, 0, 0, 0))
"""2000-01-01: the same files are to make the same bytes."""
_NO_DATE = b"0" * 16 + b"\0"


def iso9660(label: str, files: Mapping[str, bytes]) -> bytes:
    """An image with this volume label (at most 32 bytes) and files; BuildError if they are too many."""
    contents: list[bytes] = []
    records = [_record(b"\0", _ROOT, BLOCK, _DIRECTORY), _record(b"\1", _ROOT, BLOCK, _DIRECTORY)]
    block = _FILES
    for name, data in sorted(files.items()):
        records.append(_record(name.encode("ascii"), block, len(data), 0))
        contents.append(_padded(data))
        block += len(contents[-1]) // BLOCK
    directory = b"".join(records)
    if len(directory) > BLOCK:
        raise BuildError(f"{len(files)} files are too many for a seed")
    return b"".join(
        (
            bytes(_DESCRIPTORS * BLOCK),
            _primary_descriptor(label.encode("ascii"), block),
            _padded(b"\xffCD001\x01"),
            _padded(_path_table("<")),
            _padded(_path_table(">")),
            _padded(directory),
            *contents,
        )
    )


def _primary_descriptor(label: bytes, blocks: int) -> bytes:
    return _padded(
        b"".join(
            (
                b"\x01CD001\x01\0",
                b" " * 32,
                label.ljust(32),
                bytes(8),
                _both(blocks, "I"),
                bytes(32),
                _both(1, "H"),
                _both(1, "H"),
                _both(BLOCK, "H"),
                _both(len(_path_table("<")), "I"),
                struct.pack("<II", _PATH_TABLE_LITTLE, 0),
                struct.pack(">II", _PATH_TABLE_BIG, 0),
                _record(b"\0", _ROOT, BLOCK, _DIRECTORY),
                # Volume set, publisher, preparer and application; three files that describe them.
                b" " * (4 * 128 + 3 * 37),
                4 * _NO_DATE,
                b"\x01",
            )
        )
    )


def _path_table(order: str) -> bytes:
    """The root directory is its own parent; its name is one zero byte."""
    return struct.pack(f"{order}BBIHBB", 1, 0, _ROOT, 1, 0, 0)


def _record(name: bytes, block: int, length: int, flags: int) -> bytes:
    """A directory record, of an even number of bytes."""
    tail = bytes((len(name),)) + name + bytes(1 - len(name) % 2)
    body = b"".join(
        (b"\0", _both(block, "I"), _both(length, "I"), _DATE, bytes((flags, 0, 0)), _both(1, "H"))
    )
    return bytes((1 + len(body) + len(tail),)) + body + tail


def _both(number: int, kind: str) -> bytes:
    """A number in both byte orders."""
    return struct.pack(f"<{kind}", number) + struct.pack(f">{kind}", number)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)
