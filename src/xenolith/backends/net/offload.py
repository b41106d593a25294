"""What a frontend has left to do about a frame that it sends, said as by virtio_net_hdr."""

from __future__ import annotations

from xenolith.net.frame import GsoType, Offload, OffloadFlag
from xenolith.net.headers import CSUM_OFFSET, TCP, find_headers

_VERSIONS = {GsoType.TCPV4: 4, GsoType.TCPV6: 6}


def offload_of(data: bytes, kind: GsoType, segment_bytes: int) -> Offload:
    """The offload of a frame whose checksum is blank, and that is to be cut unless ``kind`` is NONE.

    ValueError if that cannot be done.
    """
    headers = find_headers(data)
    if headers is None:
        raise ValueError("no transport has its checksum left blank")
    start, offset = headers.transport, CSUM_OFFSET[headers.protocol]
    if kind is GsoType.NONE:
        return Offload(OffloadFlag.NEEDS_CSUM, csum_start=start, csum_offset=offset)
    if headers.version != _VERSIONS[kind] or headers.protocol != TCP:
        raise ValueError("only TCP is cut into segments")
    flags = OffloadFlag.NEEDS_CSUM
    return Offload(flags, kind, headers.payload, segment_bytes, start, offset)
