"""The error of a device's handshake."""

from __future__ import annotations


class XenbusError(Exception):
    """A frontend offers what makes no sense; the message says what, for the log."""
