"""A small encoder of the ACPI Machine Language: just the objects that our DSDT holds.

Chapter 20 of the ACPI Specification 6.3 defines the encoding; each function returns the bytes of
one term.
"""

from __future__ import annotations

_ZERO_OP = b"\x00"
_ONE_OP = b"\x01"
_NAME_OP = b"\x08"
_BYTE_PREFIX = b"\x0a"
_WORD_PREFIX = b"\x0b"
_DWORD_PREFIX = b"\x0c"
_STRING_PREFIX = b"\x0d"
_QWORD_PREFIX = b"\x0e"
_SCOPE_OP = b"\x10"
_PACKAGE_OP = b"\x12"
_DEVICE_OP = b"\x5b\x82"


def name_string(path: str) -> bytes:
    """Encode a name such as ``_SB``, ``\\_SB`` or ``_SB.C000``; segments are padded by ``_``."""
    root = b"\\" if path.startswith("\\") else b""
    segments = [_name_segment(segment) for segment in path.lstrip("\\").split(".")]
    if len(segments) == 1:
        return root + segments[0]
    if len(segments) == 2:
        return root + b"\x2e" + b"".join(segments)
    return root + b"\x2f" + bytes([len(segments)]) + b"".join(segments)


def _name_segment(segment: str) -> bytes:
    data = segment.encode("ascii")
    tail = segment.replace("_", "A")
    if not (1 <= len(data) <= 4 and tail.isalnum() and tail.isupper() and not tail[0].isdigit()):
        raise ValueError(f"{segment!r} is not an ACPI name segment")
    return data.ljust(4, b"_")


def integer(value: int) -> bytes:
    """Encode an unsigned integer of up to 64 bits in its shortest form."""
    if value in (0, 1):
        return _ONE_OP if value else _ZERO_OP
    for prefix, size in ((_BYTE_PREFIX, 1), (_WORD_PREFIX, 2), (_DWORD_PREFIX, 4)):
        if value < 1 << 8 * size:
            return prefix + value.to_bytes(size, "little")
    return _QWORD_PREFIX + value.to_bytes(8, "little")


def string(value: str) -> bytes:
    """Encode a string of ASCII characters 1 to 127."""
    return _STRING_PREFIX + value.encode("ascii") + b"\0"


def package_length(size: int) -> bytes:
    """Encode the length of a term's ``size`` bytes of content, which counts itself."""
    if size + 1 < 1 << 6:
        return bytes([size + 1])
    for count in (1, 2, 3):
        total = size + 1 + count
        if total < 1 << (4 + 8 * count):
            return bytes([count << 6 | total & 0xF]) + (total >> 4).to_bytes(count, "little")
    raise ValueError(f"an AML term cannot hold {size} bytes")


def name(path: str, value: bytes) -> bytes:
    """``Name (path, value)``."""
    return _NAME_OP + name_string(path) + value


def package(*elements: bytes) -> bytes:
    """``Package () { elements }``."""
    content = bytes([len(elements)]) + b"".join(elements)
    return _PACKAGE_OP + package_length(len(content)) + content


def scope(path: str, *terms: bytes) -> bytes:
    """``Scope (path) { terms }``."""
    return _block(_SCOPE_OP, path, terms)


def device(path: str, *terms: bytes) -> bytes:
    """``Device (path) { terms }``."""
    return _block(_DEVICE_OP, path, terms)


def _block(operator: bytes, path: str, terms: tuple[bytes, ...]) -> bytes:
    content = name_string(path) + b"".join(terms)
    return operator + package_length(len(content)) + content
