"""Values, which are bytes, as printable text and back, as xenstore-utils write them.

docs/man/xenstore-read.1.pod: backslash escapes for what is not printable ASCII.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(rb"[^ -~]|\\")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.?))", re.DOTALL)
_LETTERS = {b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r", b"\\": b"\\\\"}
_MEANINGS = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"": b"\0"}


def escape(value: bytes) -> bytes:
    """A value as printable ASCII."""
    return _SPECIAL.sub(_escape_one, value)


def unescape(text: bytes) -> bytes:
    """The value that :func:`escape` would show as ``text``."""
    return _ESCAPE.sub(_unescape_one, text)


def _escape_one(match: re.Match[bytes]) -> bytes:
    byte = match[0]
    if byte in _LETTERS:
        return _LETTERS[byte]
    return b"\\%03o" % byte[0] if byte[0] < 8 else b"\\x%02x" % byte[0]


def _unescape_one(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, other = match.groups()
    if hexadecimal is not None:
        return bytes((int(hexadecimal, 16),))
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    return _MEANINGS.get(other, other)
