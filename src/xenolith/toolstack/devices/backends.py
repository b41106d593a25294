"""Which backend serves which kind of device: makes it, in the domain's process, of what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xenolith.backends.io_thread import IoThread
from xenolith.backends.xenbus import DeviceBackend, Guest
from xenolith.toolstack.rpc import Body

MakeBackend = Callable[[Guest, IoThread, Body, Sequence[int]], DeviceBackend]
"""Makes a backend of its settings and descriptors, which it then owns; ImageError, OSError, ValueError."""

BACKENDS: dict[str, MakeBackend] = {}
"""By kind of device, as in its paths in xenstore."""
