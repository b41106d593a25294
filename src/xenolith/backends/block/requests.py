"""What a request in the ring asks for, in whichever architecture's layout, and whether it makes sense.

A request is copied out of the ring before it comes here; nothing of it is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from xenolith.abi.blkif import (
    BLKIF_DISCARD_SECURE,
    BLKIF_MAX_SEGMENTS_PER_REQUEST,
    SEGMENT,
    BlkifAbi,
    BlkifOp,
    BlkifRsp,
)
from xenolith.machine.address import PAGE_SIZE

MAX_INDIRECT_SEGMENTS = 256
"""1 MiB in whole frames: what `feature-max-indirect-segments` says."""

SECTOR_SHIFT = 9
_SECTORS_PER_PAGE = PAGE_SIZE >> SECTOR_SHIFT
_SEGMENTS_PER_PAGE = PAGE_SIZE // SEGMENT.size

Segment = tuple[int, int, int]
"""Grant reference, first and last sector within the frame."""

ReadGrant = Callable[[int], bytes]
"""Copies the granted frame that a reference names; GrantError."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A request is not carried out; ``status`` is the answer, the message says why."""

    def __init__(self, status: BlkifRsp, why: str) -> None:
        super().__init__(why)
        self.status = status


class Request(NamedTuple):
    """``operation`` is READ, WRITE, WRITE_BARRIER, FLUSH_DISKCACHE or DISCARD.

    ``offset`` and ``length`` are bytes of the disk.
    """

    label: Label
    operation: BlkifOp
    offset: int
    length: int
    segments: Sequence[Segment]


class Label(NamedTuple):
    """What a response repeats of its request."""

    id: int
    operation: int
    """Of an indirect request: that which it does indirectly."""


def label(abi: BlkifAbi, slot: bytes) -> Label:
    """What a response to the request in a slot is known by; all layouts have the id at one place."""
    operation = slot[1] if slot[0] == BlkifOp.INDIRECT else slot[0]
    return Label(abi.request.unpack(slot).id, operation)


def decode(abi: BlkifAbi, slot: bytes, read_grant: ReadGrant) -> Request:
    """The request in a slot; Refusal, GrantError."""
    match slot[0]:
        case BlkifOp.DISCARD:
            return _discard(abi, slot)
        case BlkifOp.INDIRECT:
            return _indirect(abi, slot, read_grant)
        case (
            BlkifOp.READ | BlkifOp.WRITE | BlkifOp.WRITE_BARRIER | BlkifOp.FLUSH_DISKCACHE
        ) as operation:
            return _direct(abi, slot, BlkifOp(operation))
        case unknown:
            raise Refusal(BlkifRsp.EOPNOTSUPP, f"operation {unknown}")


def _direct(abi: BlkifAbi, slot: bytes, operation: BlkifOp) -> Request:
    _, count, _, number, sector, raw = abi.request.unpack(slot)
    known_by = Label(number, operation)
    if count > BLKIF_MAX_SEGMENTS_PER_REQUEST:
        raise Refusal(BlkifRsp.ERROR, f"{count} segments")
    if count == 0 and operation in (BlkifOp.READ, BlkifOp.WRITE):
        raise Refusal(BlkifRsp.ERROR, "no segments")
    return _transfer(known_by, operation, sector, raw[: count * SEGMENT.size])


def _indirect(abi: BlkifAbi, slot: bytes, read_grant: ReadGrant) -> Request:
    _, operation, count, number, sector, _, refs = abi.indirect.unpack(slot)
    if operation not in (BlkifOp.READ, BlkifOp.WRITE):
        raise Refusal(BlkifRsp.EOPNOTSUPP, f"indirect operation {operation}")
    if not 0 < count <= MAX_INDIRECT_SEGMENTS:
        raise Refusal(BlkifRsp.ERROR, f"{count} indirect segments")
    pages = refs[: -(-count // _SEGMENTS_PER_PAGE)]
    raw = b"".join(map(read_grant, pages))
    known_by = Label(number, operation)
    return _transfer(known_by, BlkifOp(operation), sector, raw[: count * SEGMENT.size])


def _transfer(known_by: Label, operation: BlkifOp, sector: int, raw: bytes) -> Request:
    segments: list[Segment] = SEGMENT.unpack_all(raw)
    sectors = 0
    for _, first, last in segments:
        if not first <= last < _SECTORS_PER_PAGE:
            raise Refusal(BlkifRsp.ERROR, f"a segment of sectors {first} to {last}")
        sectors += last - first + 1
    return Request(known_by, operation, sector << SECTOR_SHIFT, sectors << SECTOR_SHIFT, segments)


def _discard(abi: BlkifAbi, slot: bytes) -> Request:
    _, flag, _, number, sector, sectors = abi.discard.unpack(slot)
    if flag & BLKIF_DISCARD_SECURE:
        raise Refusal(BlkifRsp.EOPNOTSUPP, "a secure discard")
    offset, length = sector << SECTOR_SHIFT, sectors << SECTOR_SHIFT
    return Request(Label(number, BlkifOp.DISCARD), BlkifOp.DISCARD, offset, length, ())
