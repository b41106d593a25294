"""The block device's ring: requests, responses and what is said about a disk.

Mirrors public/io/blkif.h. A frontend may use the layouts of another architecture
(public/io/protocols.h): those of 32-bit x86 differ in alignment alone.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple

from xenolith.abi.constants import c_constants
from xenolith.abi.layout import S16, U8, U16, U32, U64, Layout

HEADER = "io/blkif.h"

BLKIF_MAX_SEGMENTS_PER_REQUEST = 11
BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8
BLKIF_DISCARD_SECURE = 1
VDISK_CDROM = 1
VDISK_REMOVABLE = 2
VDISK_READONLY = 4


@c_constants("BLKIF_OP_")
class BlkifOp(IntEnum):
    """What a request asks for."""

    READ = 0
    WRITE = 1
    WRITE_BARRIER = 2
    FLUSH_DISKCACHE = 3
    DISCARD = 5
    INDIRECT = 6


@c_constants("BLKIF_RSP_")
class BlkifRsp(IntEnum):
    """How a request ended."""

    OKAY = 0
    ERROR = -1
    EOPNOTSUPP = -2


class BlkifRequestSegment(NamedTuple):
    """Sectors ``first_sect`` to ``last_sect`` (inclusive, of 512 bytes) of a granted frame."""

    gref: U32
    first_sect: U8
    last_sect: U8


SEGMENT = Layout(BlkifRequestSegment, "struct blkif_request_segment", HEADER)


class BlkifRequest(NamedTuple):
    """A read, write, barrier or flush; ``sector_number`` is in sectors of 512 bytes."""

    operation: U8
    nr_segments: U8
    handle: U16
    id: U64
    sector_number: U64
    seg: Annotated[bytes, "88s"]


class BlkifRequestDiscard(NamedTuple):
    """A discard of ``nr_sectors`` sectors."""

    operation: U8
    flag: U8
    handle: U16
    id: U64
    sector_number: U64
    nr_sectors: U64


class BlkifRequestIndirect(NamedTuple):
    """A read or write whose segments are in frames of their own."""

    operation: U8
    indirect_op: U8
    nr_segments: U16
    id: U64
    sector_number: U64
    handle: U16
    indirect_grefs: Annotated[tuple[int, ...], "8I"]


class BlkifResponse(NamedTuple):
    """The answer to request ``id``."""

    id: U64
    operation: U8
    status: S16


class BlkifSring(NamedTuple):
    """The head of a ring, and its first slot."""

    req_prod: U32
    req_event: U32
    rsp_prod: U32
    rsp_event: U32
    pad: Annotated[bytes, "48s"]
    ring: Annotated[tuple[int, ...], "14Q"]


SRING = Layout(BlkifSring, "struct blkif_sring", HEADER)


class BlkifAbi(NamedTuple):
    """The layouts of one architecture."""

    request: Layout[BlkifRequest]
    discard: Layout[BlkifRequestDiscard]
    indirect: Layout[BlkifRequestIndirect]
    response: Layout[BlkifResponse]


_X86_64 = BlkifAbi(
    Layout(BlkifRequest, "struct blkif_request", HEADER),
    Layout(BlkifRequestDiscard, "struct blkif_request_discard", HEADER),
    Layout(BlkifRequestIndirect, "struct blkif_request_indirect", HEADER),
    Layout(BlkifResponse, "struct blkif_response", HEADER),
)
_X86_32 = BlkifAbi(
    Layout(BlkifRequest, pack=4),
    Layout(BlkifRequestDiscard, pack=4),
    Layout(BlkifRequestIndirect, pack=4),
    Layout(BlkifResponse, pack=4),
)

BLKIF_ABIS = {"x86_64-abi": _X86_64, "x86_32-abi": _X86_32}
"""By the value of the frontend's node ``protocol`` (XEN_IO_PROTO_ABI_*)."""
