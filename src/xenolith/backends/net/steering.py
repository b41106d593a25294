"""Which queue a received frame goes to, by the hash of its headers.

A frontend may choose the hash over the control ring (public/io/netif.h, "Hash types"); without that, it
is one of ours, which the guest is not told.
"""

from __future__ import annotations

import zlib

from xenolith.abi.netif import (
    XEN_NETIF_CTRL_HASH_ALGORITHM_NONE,
    XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
    HashType,
)
from xenolith.backends.net.receive import FrameHash
from xenolith.net.headers import TCP, Headers, find_headers

SUPPORTED_TYPES = sum(1 << kind for kind in HashType)
MAX_KEY_BYTES = 40
MAX_MAPPING = 128

_LONGEST_INPUT = 36
_ADDRESSES = {4: (12, 20), 6: (8, 40)}
"""Where the addresses are in each version's header, source first."""
_PLAIN = {4: HashType.IPV4, 6: HashType.IPV6}
_WITH_PORTS = {4: HashType.IPV4_TCP, 6: HashType.IPV6_TCP}


class Steering:
    """The choice between ``queues`` queues."""

    def __init__(self, queues: int) -> None:
        self.queues = queues
        self.algorithm = XEN_NETIF_CTRL_HASH_ALGORITHM_NONE
        self.types = 0
        """A bit for each HashType that is wanted."""
        self.mapping: list[int] = []
        """Queues by hash; where there are none, the hash is taken modulo their number."""
        self._tables: list[list[int]] = []
        self.set_key(b"")

    def set_key(self, key: bytes) -> None:
        """Use another Toeplitz key; what it lacks is zero."""
        self._tables = _toeplitz_tables(key)

    def choose(self, frame: bytes | memoryview) -> tuple[int, FrameHash | None]:
        """The queue of a frame, and its hash if the guest has asked for one of its type."""
        if self.algorithm == XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ and self.types:
            frame_hash = self._toeplitz(frame)
            if frame_hash is None:
                return 0, None
            return self._queue(frame_hash.value), frame_hash
        if self.queues == 1:
            return 0, None
        headers = find_headers(frame)
        if headers is None:
            return 0, None
        start, _ = _ADDRESSES[headers.version]
        flow = zlib.crc32(frame[headers.ip + start : headers.transport + 4])
        return flow % self.queues, None

    def _queue(self, value: int) -> int:
        if self.mapping:
            return self.mapping[value % len(self.mapping)]
        return value % self.queues

    def _toeplitz(self, frame: bytes | memoryview) -> FrameHash | None:
        headers = find_headers(frame)
        if headers is None:
            return None
        kind = _WITH_PORTS[headers.version]
        if headers.protocol != TCP or not self.types >> kind & 1:
            kind = _PLAIN[headers.version]
            if not self.types >> kind & 1:
                return None
        value = 0
        for table, byte in zip(self._tables, _hash_input(frame, headers, kind), strict=False):
            value ^= table[byte]
        return FrameHash(kind, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ, value)


def _hash_input(frame: bytes | memoryview, headers: Headers, kind: HashType) -> bytes:
    start, end = _ADDRESSES[headers.version]
    addresses = bytes(frame[headers.ip + start : headers.ip + end])
    if kind in _PLAIN.values():
        return addresses
    return addresses + bytes(frame[headers.transport : headers.transport + 4])


def _toeplitz_tables(key: bytes) -> list[list[int]]:
    """For each byte of input, what each value of it adds to the hash."""
    bits = int.from_bytes(key[:MAX_KEY_BYTES].ljust(MAX_KEY_BYTES, b"\0"), "big")
    width = MAX_KEY_BYTES * 8
    tables = []
    for byte in range(_LONGEST_INPUT):
        windows = [bits >> width - 32 - byte * 8 - bit & 0xFFFFFFFF for bit in range(8)]
        table = [0] * 256
        for bit, window in enumerate(windows):
            step = 128 >> bit
            for value in range(256):
                if value & step:
                    table[value] ^= window
        tables.append(table)
    return tables
