"""A device that is about to be attached: what xenstore is told of it, and what its backend is made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xenolith.toolstack import rpc
from xenolith.toolstack.rpc import Body


@dataclass(slots=True, kw_only=True)
class NewDevice:
    """``frontend`` and ``backend`` are nodes, ``settings`` and ``fds`` go to the domain's process.

    The descriptors are the device's until they are taken.
    """

    kind: str
    devid: int
    frontend: Mapping[str, str]
    backend: Mapping[str, str]
    settings: Body
    fds: list[int] = field(default_factory=list)

    def take_fds(self) -> list[int]:
        """The descriptors, which are the caller's from now on."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Give the device up: close what has not been taken."""
        rpc.close_all(self.take_fds())
