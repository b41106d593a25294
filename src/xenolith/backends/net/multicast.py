"""The filter of multicast addresses that a frontend may keep in its backend (feature-multicast-control)."""

from __future__ import annotations

from xenolith.abi.netif import ExtraType
from xenolith.net.headers import ETHERNET_BYTES

_MAX_ADDRESSES = 64
_BROADCAST = b"\xff" * 6


class MulticastFilter:
    """Lets every frame pass until ``enabled``; then multicast ones that were asked for only."""

    def __init__(self) -> None:
        self.enabled = False
        self._addresses: set[bytes] = set()

    def change(self, kind: int, address: bytes) -> None:
        """Do what an extra of type MCAST_ADD or MCAST_DEL asks; ValueError if there are too many."""
        if kind == ExtraType.MCAST_DEL:
            self._addresses.discard(address)
        elif len(self._addresses) < _MAX_ADDRESSES or address in self._addresses:
            self._addresses.add(address)
        else:
            raise ValueError(f"more than {_MAX_ADDRESSES} multicast addresses")

    def passes(self, frame: bytes | memoryview) -> bool:
        """Whether the guest wants a frame."""
        if len(frame) < ETHERNET_BYTES:
            return False
        if not self.enabled or not frame[0] & 1:
            return True
        target = bytes(frame[:6])
        return target == _BROADCAST or target in self._addresses
