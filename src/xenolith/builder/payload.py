"""What a file says of the compressed kernel in it."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_KERNEL = 512 << 20
"""Bytes that a kernel may unpack to; Debian's largest takes 63 MiB."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Where the compressed kernel lies in the file, in bytes, and how large it unpacks."""

    offset: int
    length: int
    unpacked_size: int
