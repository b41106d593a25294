"""The daemon's exception."""

from __future__ import annotations


class DaemonError(Exception):
    """A request cannot be fulfilled; the message is one sentence for the user."""
