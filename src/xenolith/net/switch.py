"""A learning Ethernet switch, without its sockets: which ports a frame goes to.

It behaves as an 802.1D bridge without spanning tree. Loops cannot be: each port is one network
interface of one domain, and a frame never leaves by the port it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from xenolith.net.headers import ETHERNET_BYTES

AGEING_S = 300.0
"""How long an address is remembered that nothing is heard of."""
MAX_ADDRESSES_PER_PORT = 64
"""A domain that invents addresses crowds out its own only."""

Port = TypeVar("Port", bound=Hashable)


class Switch(Generic[Port]):
    """Forwards between the ports that have been added; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._addresses: dict[Port, dict[bytes, float]] = {}
        """Of each port, when each address was last heard of there, the oldest first."""
        self._where: dict[bytes, Port] = {}

    @property
    def ports(self) -> list[Port]:
        """All ports."""
        return list(self._addresses)

    def add(self, port: Port) -> None:
        """Connect a port."""
        self._addresses[port] = {}

    def remove(self, port: Port) -> None:
        """Disconnect a port and forget what was heard there."""
        for address in self._addresses.pop(port):
            del self._where[address]

    def forward(self, port: Port, frame: bytes | memoryview) -> list[Port]:
        """Where a frame that came by ``port`` goes to; nowhere, if it is too short to be one."""
        if len(frame) < ETHERNET_BYTES:
            return []
        now = self._clock()
        source = bytes(frame[6:12])
        if not source[0] & 1:
            self._learn(port, source, now)
        target = bytes(frame[:6])
        known = self._where.get(target)
        if known is None or target[0] & 1:
            return [other for other in self._addresses if other != port]
        if now - self._addresses[known][target] > AGEING_S:
            self._forget(known, target)
            return [other for other in self._addresses if other != port]
        return [known] if known != port else []

    def _learn(self, port: Port, address: bytes, now: float) -> None:
        """Remember where an address is; it may have moved."""
        before = self._where.get(address)
        if before is not None:
            self._forget(before, address)
        addresses = self._addresses[port]
        if len(addresses) >= MAX_ADDRESSES_PER_PORT:
            self._forget(port, next(iter(addresses)))
        addresses[address] = now
        self._where[address] = port

    def _forget(self, port: Port, address: bytes) -> None:
        del self._addresses[port][address]
        del self._where[address]
