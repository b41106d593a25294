"""What one end of a device has written to xenstore for the other, and how numbers are read from it."""

from __future__ import annotations

from collections.abc import Mapping

from xenolith.backends.xenbus.errors import XenbusError

Nodes = Mapping[str, str]
"""Values by path relative to the device's directory: ``state``, ``queue-0/ring-ref``."""

_MAX_DIGITS = 20


def number(nodes: Nodes, name: str, default: int | None = None) -> int:
    """A node's value as a number that is not negative; XenbusError, also if absent with no default."""
    text = nodes.get(name)
    if text is None:
        if default is None:
            raise XenbusError(f"there is no {name}")
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise XenbusError(f"{name} is {text[:32]!r}, not a number")
    return int(text)


def flag(nodes: Nodes, name: str) -> bool:
    """Whether a feature's node says 1 (or another number but 0); XenbusError."""
    return number(nodes, name, 0) != 0
