"""Loads _requests.c, which takes requests out of a ring, finds the memory that they name, and answers them.

The ring and its requests are those of public/io/ring.h and blkif.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import NamedTuple

from xenolith.abi.blkif import BlkifAbi, BlkifOp, BlkifRsp
from xenolith.abi.ring import slots
from xenolith.hypervisor.grant_table import GrantError, GrantTable
from xenolith.hypervisor.grant_table.active import MAPPING_FLAGS
from xenolith.hypervisor.grant_table.native import refused
from xenolith.machine.address import PAGE_SIZE, Gfn
from xenolith.machine.native_code import Sizes, load_beside
from xenolith.storage.vector import IoVector

MAX_INDIRECT_SEGMENTS = 256
"""1 MiB in whole frames: what `feature-max-indirect-segments` says."""

MAX_RING_PAGES = 16
SECTOR_SHIFT = 9

_EMPTY, _TAKEN, _REFUSED, _BROKEN = range(4)
_DOM0 = 0


class _Request(ctypes.Structure):
    _fields_ = (
        ("id", c_uint64),
        ("offset", c_uint64),
        ("bytes", c_uint64),
        ("guest_bytes", c_uint64),
        ("operation", c_uint32),
        ("segments", c_uint32),
        ("vectors", c_uint32),
        ("runs", c_uint32),
        ("status", c_int32),
        ("refusal", c_uint32),
        ("ref", c_uint32),
        ("refs", c_uint32 * MAX_INDIRECT_SEGMENTS),
        ("frames", c_uint64 * MAX_INDIRECT_SEGMENTS),
        ("vector", c_uint64 * (2 * MAX_INDIRECT_SEGMENTS)),
        ("run", c_uint64 * (2 * MAX_INDIRECT_SEGMENTS)),
    )


class _Queue(ctypes.Structure):
    _fields_ = (
        ("grants", c_void_p),
        ("page", c_void_p * MAX_RING_PAGES),
        ("disk_bytes", c_uint64),
        ("slots", c_uint32),
        ("slot_bytes", c_uint32),
        ("id_at", c_uint32),
        ("segments_at", c_uint32),
        ("indirect_refs_at", c_uint32),
        ("response_bytes", c_uint32),
        ("status_at", c_uint32),
        ("consumed", c_uint32),
        ("produced", c_uint32),
        ("claimed", c_uint32),
        ("block_sectors", c_uint32),
        ("writable", c_uint32),
        ("discard", c_uint32),
        ("request", _Request),
    )


@cache
def load_requests() -> ctypes.PyDLL:
    """The C code beside this module; it is called without giving up the interpreter."""
    library = load_beside(
        __file__,
        "_requests",
        "the disks' C code",
        OSError,
        ctypes.PyDLL,
        Sizes("xenolith_blkif_size", ctypes.sizeof(_Queue)),
    )
    for call in (
        library.xenolith_blkif_start,
        library.xenolith_blkif_take,
        library.xenolith_blkif_push,
        library.xenolith_blkif_waiting,
    ):
        call.argtypes = [c_void_p]
    library.xenolith_blkif_waiting.restype = c_uint32
    library.xenolith_blkif_respond.argtypes = [c_void_p, c_uint64, c_uint32, c_int32]
    library.xenolith_blkif_respond.restype = None
    return library


class RingError(Exception):
    """The frontend's index has run away: there are more requests than slots."""


class Request(NamedTuple):
    """``operation`` is READ, WRITE, WRITE_BARRIER, FLUSH_DISKCACHE or DISCARD; or a guest's number.

    ``offset`` and ``length`` are bytes of the disk; what ``status`` is not OKAY of is refused.
    """

    id: int
    operation: int
    offset: int
    length: int
    status: int
    why: GrantError | None = None
    """What was not granted, if it is refused for that."""

    def __str__(self) -> str:
        name = BlkifOp(self.operation).name.lower().replace("_", " ")
        return f"{name} of {self.length} bytes at sector {self.offset >> SECTOR_SHIFT}"


class Pinned(NamedTuple):
    """Frames that stay the guest's until they are unpinned."""

    buffers: IoVector
    refs: ctypes.Array[c_uint32]
    runs: list[tuple[Gfn, int]]
    readonly: bool


class RequestRing:
    """A ring over ``pages``, which are mapped as long as it is used; RingError if it is broken.

    ``writable`` and ``discard`` say what may be asked for, ``block_size`` the bytes that requests are
    in multiples of.
    """

    def __init__(
        self,
        grants: GrantTable,
        pages: Sequence[memoryview],
        abi: BlkifAbi,
        *,
        writable: bool,
        discard: bool,
        block_size: int,
    ) -> None:
        self._library = load_requests()
        self._grants = grants
        self._queue = queue = _Queue()
        queue.grants = grants.native.address
        queue.page[: len(pages)] = [
            ctypes.addressof(ctypes.c_char.from_buffer(page)) for page in pages
        ]
        queue.slots = self.slots = slots(len(pages) * PAGE_SIZE, abi.request.size)
        queue.slot_bytes = abi.request.size
        queue.id_at = abi.request.offsets["id"]
        queue.segments_at = abi.request.offsets["seg"]
        queue.indirect_refs_at = abi.indirect.offsets["indirect_grefs"]
        queue.response_bytes = abi.response.size
        queue.status_at = abi.response.offsets["status"]
        queue.block_sectors = block_size >> SECTOR_SHIFT
        queue.writable, queue.discard = writable, discard
        self._address = ctypes.addressof(queue)
        self._request = queue.request
        self._vector_address = ctypes.addressof(queue.request.vector)
        self._take = self._library.xenolith_blkif_take
        if not self._library.xenolith_blkif_start(self._address):
            raise RingError(f"{self._queue.claimed} requests at once")

    def measure(self, disk_bytes: int) -> None:
        """How long the disk is from now on."""
        self._queue.disk_bytes = disk_bytes

    def take(self) -> Request | None:
        """The next request; None, and the frontend will tell, where there is none. RingError."""
        outcome = self._take(self._address)
        if outcome == _EMPTY:
            return None
        if outcome == _BROKEN:
            raise RingError(f"{self._queue.claimed} requests at once")
        raw = self._request
        if outcome == _TAKEN:
            return Request(raw.id, raw.operation, raw.offset, raw.bytes, BlkifRsp.OKAY)
        why = refused(raw.refusal, raw.ref) if raw.refusal else None
        return Request(raw.id, raw.operation, 0, 0, raw.status, why)

    @property
    def waiting(self) -> int:
        """How many requests wait, or more than there are slots."""
        count: int = self._library.xenolith_blkif_waiting(self._address)
        return count

    @property
    def refs(self) -> list[int]:
        """The grants of the request that was taken last."""
        refs: list[int] = self._request.refs[: self._request.segments]
        return refs

    @property
    def buffers(self) -> IoVector:
        """Its memory, to be used before the next is taken and before the guest runs again."""
        raw = self._request
        return IoVector(
            self._vector_address, raw.vectors, raw.guest_bytes, self._grants.memory.view
        )

    def written(self) -> None:
        """Its memory has been written."""
        raw = self._request
        words = raw.run[: 2 * raw.runs]
        for index in range(0, len(words), 2):
            self._grants.memory.written(Gfn(words[index]), words[index + 1])

    def pin(self, *, readonly: bool) -> Pinned:
        """Its memory, to be used until :meth:`unpin`; GrantError.

        So it ends where a grant is of another frame by now: a read that was tried may have come into the entries.
        """
        raw = self._request
        refs = (c_uint32 * raw.segments).from_buffer_copy(raw.refs)
        self._grants.native.pin_all(refs, raw.frames, _DOM0, (readonly, MAPPING_FLAGS))
        words = raw.run[: 2 * raw.runs]
        runs = [(Gfn(gfn), count) for gfn, count in zip(words[::2], words[1::2], strict=True)]
        return Pinned(self.buffers.copy(), refs, runs, readonly)

    def unpin(self, pinned: Pinned) -> None:
        """Give memory back that was pinned, and that was written unless it was ``readonly``."""
        if not pinned.readonly:
            for gfn, count in pinned.runs:
                self._grants.memory.written(gfn, count)
        self._grants.native.unpin_all(pinned.refs, pinned.readonly)

    def respond(self, request: Request, status: int) -> None:
        """Answer a request; :meth:`push` shows it."""
        self._library.xenolith_blkif_respond(self._address, request.id, request.operation, status)

    def push(self) -> bool:
        """Show the guest all responses; whether it wants an event for that."""
        return bool(self._library.xenolith_blkif_push(self._address))
