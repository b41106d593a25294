"""What goes wrong below the network interfaces."""

from __future__ import annotations


class NetError(Exception):
    """A network cannot be reached or made; the message is one sentence for the user."""


class FrameError(Exception):
    """A frame contradicts what is said about it; it is dropped."""


class WireClosedError(Exception):
    """The other end of a wire is gone."""
