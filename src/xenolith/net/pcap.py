"""The format of packet captures: a header, then each frame behind its time and size.

It is libpcap's own with nanoseconds (draft-ietf-opsawg-pcap), read by tcpdump and Wireshark.
"""

from __future__ import annotations

import struct

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1
_SNAP_LENGTH = 1 << 18

_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")


def file_header() -> bytes:
    """What a capture begins with."""
    return _FILE_HEADER.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAP_LENGTH, _LINKTYPE_ETHERNET)


def record_header(size: int, time_ns: int) -> bytes:
    """What goes before a frame of ``size`` bytes; the time is since the epoch."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return _RECORD_HEADER.pack(seconds & 0xFFFFFFFF, nanoseconds, size, size)
